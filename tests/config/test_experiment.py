"""The configuration refuses nonsense by name and completes what is left out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2mc.config import load_experiment, parse_experiment, reference, stages
from e2mc.errors import E2MCError

ROOT = Path(__file__).parents[2]


def demo(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    for dotted, value in changes.items():
        *parents, key = dotted.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        section[key] = value
    return content


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_experiments_are_valid(file: Path) -> None:
    assert load_experiment(file).name == file.stem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": 3}, "unknown key 'trails': did you mean 'trials'?"),
        ({"methods__vicreg__views": {"scal": [0, 1]}}, "did you mean 'scale'?"),
        ({"data__imagenet__rot": "x"}, "data.imagenet: unknown key 'rot': did you mean 'root'?"),
        ({"bases__vicreg-30": {"method": "vicrag", "epochs": 1}}, "'vicreg'"),
        ({"criteria__e2mc__swav": {"kind": "e2mmc"}}, "e2mmc"),
        ({"bases__vicreg-30__criteria": ["e2mcc"]}, "'e2mcc' has no weights for vicreg"),
        ({"tables__table3": "swav-99"}, "no base 'swav-99'"),
        ({"figures": {"figure4": {"bases": ["swav-99"]}}}, "no base 'swav-99'"),
        ({"figures": {"figure4": {"bases": []}}}, "figures.figure4.bases"),
        (
            {"figures": {"figure4": {"bases": ["swav-30"], "epochs": 30, "every": 4}}},
            "4 epochs do not divide 30",
        ),
        (
            {"figures": {"figure4": {"bases": ["swav-30"], "trials": 4}}},
            "figures.figure4.trials: 4, but the experiment has 3",
        ),
        (
            {"methods__swav__continued__schedule": "cosine"},
            "at a constant rate, and its schedule is cosine",
        ),
        ({"trials": 0}, "trials: Input should be greater than or equal to 1"),
        ({"methods__swav__scratch": None}, "give `checkpoint`"),
        ({"bases": {}}, "bases: "),
        ({"trials": 10**9}, "trials: "),
        ({"seed": 10**40}, "seed: must be a finite number"),
        ({"name": "--help"}, "name: "),
        ({"name": "a" * 300}, "name: "),
        ({"description": "a\0b"}, "description: holds a character"),
        ({"bases__-v": {"method": "vicreg", "epochs": 1}}, "bases.-v"),
        ({"criteria__my_crit": {}}, "criteria.my_crit"),
        *(
            ({f"criteria__{name}": {}}, f"criteria.{name}")
            for name in ("..", ".", "-x", "--help", "base", "continued", "grid-1-1")
        ),
        ({"methods__vicreg__views__scale": [float("nan"), 1]}, "methods.vicreg.views.scale.0"),
        ({"methods__vicreg__views__scale": [-1, 2]}, "views.scale.0"),
        ({"methods__vicreg__views__scale": [1, 0.4]}, "the smaller end comes first"),
        ({"methods__vicreg__views__blur_probability": [2]}, "views.blur_probability.0"),
        ({"methods__vicreg__views__blur_probability": []}, "at least one value"),
        ({"methods__vicreg__invariance": -1}, "methods.vicreg.invariance"),
        ({"methods__vicreg__projector": [8, 0, 8]}, "projector.1"),
        ({"methods__vicreg__scratch__learning_rate": float("inf")}, "must be a finite number"),
        ({"methods__vicreg__scratch__learning_rate": 1e308}, "must be a finite number"),
        ({"evaluation__inat18__fit__milestones": [-1]}, "milestones.0"),
        ({"evaluation__inat18__fit__milestones": [9, 3]}, "must increase"),
        ({"evaluation__normalization_std": [0.2, -0.2, 0.2]}, "normalization_std.1"),
        ({"evaluation__linear__percents": [1, 1]}, "1 is named twice"),
        ({"bases__vicreg-30__criteria": ["e2mc", "e2mc"]}, "e2mc is named twice"),
        ({"tables__table_d2": {"base": "swav-30", "criterion": "x"}}, "not of kind e2mc"),
        ({"tables__table_d2": {"base": "swav-30", "criterion": "mmcr"}}, "not of kind e2mc"),
        ({"tables__table_d2": {"base": "swav-30", "grid": [[1e-7, 0]]}}, "part of a name"),
        ({"tables__table_d2": {"base": "swav-30", "grid": [[-1, 0]]}}, "part of a name"),
    ],
)
def test_nonsense_is_refused_with_its_place_and_a_remedy(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(E2MCError) as refused:
        parse_experiment(demo(**changes), "demo.yaml")
    assert message in str(refused.value)
    assert "config/README.md" in str(refused.value)


def test_a_partial_section_keeps_the_other_defaults() -> None:
    experiment = parse_experiment(
        demo(evaluation={"linear": {"views": {"1": 5}, "vicreg": {"1": {"epochs": 7}}}}),
        "demo.yaml",
    )
    fit = experiment.evaluation.linear.vicreg[1]
    assert (fit.epochs, fit.learning_rate, fit.weight_decay) == (7, 0.02, 1e-4)
    assert experiment.evaluation.linear.vicreg[10].epochs == 100


def test_the_effective_configuration_reads_back_as_itself() -> None:
    experiment = load_experiment(ROOT / "config/demo.yaml")
    again = yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json")))
    assert parse_experiment(again, "again") == experiment


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="cannot read"):
        load_experiment(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(E2MCError, match=r"broken\.yaml is not valid YAML"):
        load_experiment(tmp_path / "broken.yaml")


def test_generated_reference_and_schema_are_up_to_date() -> None:
    assert (ROOT / reference.README).read_text() == reference.reference(), "run `make reference`"
    assert (ROOT / reference.SCHEMA).read_text() == reference.schema(), "run `make reference`"


def test_every_field_has_a_meaning_in_the_reference() -> None:
    rows = [line for line in reference.reference().splitlines() if line.startswith("| `")]
    kinds = [row for row in rows if row.startswith("| `kind`")]
    assert [row for row in rows if row.endswith("|  |") and row not in kinds] == []


def test_grid_cells_reuse_the_runs_that_they_equal() -> None:
    experiment = load_experiment(ROOT / "config/demo.yaml")
    names = stages.grid_criteria(experiment)
    assert (names[0], names[3]) == ("continued", "e2mc")
    assert len(set(names)) == 12
    ablation = experiment.tables.table_d2
    assert ablation is not None
    cell = stages.criterion_of(experiment, ablation.base, "grid-10-25")
    reported = experiment.criteria["e2mc"]["swav"]
    assert cell is not None
    assert cell.kind == reported.kind == "e2mc"
    assert cell.entropy_weight == pytest.approx(10 * reported.entropy_weight)
    assert cell.covariance_weight == reported.covariance_weight


def test_a_slice_changes_only_with_what_its_stage_can_see() -> None:
    before = parse_experiment(demo(), "before")
    after = parse_experiment(demo(evaluation__linear__swav={"10": {"weight_decay": 0.5}}), "after")

    def changed(stage: Any, *arguments: Any) -> bool:
        return bool(stage(before, *arguments) != stage(after, *arguments))

    assert changed(stages.linear_settings, "swav-30", 0)
    assert not changed(stages.linear_settings, "vicreg-30", 0)
    assert not changed(stages.pretrain_settings, "swav-30", "e2mc", 0)
    assert not changed(stages.extract_settings, "swav-30", 0, ("imagenet",))


@pytest.mark.parametrize(
    "changes",
    [{"data__workers": 3}, {"data__corrupt_images": "skip"}, {"tensorboard": True}],
    ids=str,
)
def test_what_changes_no_result_is_in_no_slice(changes: dict[str, Any]) -> None:
    """A slice's dump is a rerun trigger, and part of what a saved state must agree with."""
    before, after = parse_experiment(demo(), "before"), parse_experiment(demo(**changes), "after")
    for stage, *arguments in (
        (stages.pretrain_settings, "swav-30", "e2mc", 0),
        (stages.scratch_settings, "swav-30"),
        (stages.extract_settings, "swav-30", 0, ("imagenet",)),
        (stages.semisup_settings, "swav-30", 0),
    ):
        dumps = [stage(one, *arguments).model_dump_json() for one in (before, after)]
        assert dumps[0] == dumps[1]
    settings = stages.pretrain_settings(after, "swav-30", "e2mc", 0)
    assert settings != stages.pretrain_settings(before, "swav-30", "e2mc", 0)


def test_trials_and_neighbouring_seeds_never_share_their_randomness() -> None:
    seeds = {
        stages.seed_of(parse_experiment(demo(seed=seed), "demo.yaml"), trial)
        for seed in range(3)
        for trial in range(3)
    }
    assert len(seeds) == 9


def test_snapshots_change_nothing_in_the_model_of_a_training() -> None:
    """So that neither a saved state nor the rule's parameter knows of the figure."""
    shown = parse_experiment(demo(), "demo")
    plain = parse_experiment(demo(figures={}), "demo")
    settings = stages.pretrain_settings(shown, "swav-30", "e2mc", 0)
    assert settings.snapshots == (6, 12)
    assert (settings.epochs, settings.training.epochs) == (12, 10)
    other = stages.pretrain_settings(plain, "swav-30", "e2mc", 0)
    assert (other.snapshots, other.epochs) == ((), 10)
    assert settings.model_dump_json() == other.model_dump_json()
    for base, criterion, trial in (
        ("swav-30", "e2mc", 1),
        ("swav-30", "mmcr", 0),
        ("simsiam-30", "e2mc", 0),
    ):
        assert not stages.snapshots(shown, base, criterion, trial)
