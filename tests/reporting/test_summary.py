from pathlib import Path

from e2mc.config import Experiment
from e2mc.plan import needs
from e2mc.reporting.summary import summary
from tests.reporting.synthetic_results import experiment, write_results


def test_what_was_found_line_by_line(settings: Experiment, tmp_path: Path) -> None:
    cells = needs.table_inputs(settings, "table1")
    write_results(tmp_path, [cell for cell in cells if cell.base != "simsiam-60"])
    share = "+2.00 +- 0.00 (n=3, clearly above)"
    every = f"1 %: {share}; 10 %: {share}; 100 %: {share}"
    none = "; ".join(f"{percent} %: not evaluated" for percent in (1, 10, 100))
    assert summary(settings, tmp_path).splitlines() == [
        f"synthetic: open {tmp_path}/index.html; tables in {tmp_path}/tables, figures in "
        f"{tmp_path}/figures",
        "E2MC minus continued training, top-1 points (mean +- standard error over trials):",
        f"  VICReg-60     {every}",
        f"  SwAV-60       {every}",
        f"  SimSiam-60    {none}",
        "E2MC is clearly above continued training in 6 and clearly below in 0 of 6 comparisons at "
        "this scale, which is not the paper's.",
        "(Clear: the paired t-test over the trials finds it at 5 %, and it is more than one test "
        "image; an exact permutation test over 3 trials reaches no p below 0.25.)",
        "It took 0.0 GPU-hours and 0 s of computing; jobs: 0, restarts: 0.",
    ]


def test_an_experiment_without_the_comparison_says_so(tmp_path: Path) -> None:
    bases = {"vicreg-60": {"method": "vicreg", "epochs": 60, "criteria": ["continued"]}}
    settings = experiment(bases=bases, tables={}, comparable=True)
    text = summary(settings, tmp_path)
    assert "  no base is trained with both\n" in text
    assert "0 and clearly below in 0 of 0 comparisons.\n(Clear: " in text
