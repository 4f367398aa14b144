"""Every published number against the number that this experiment computed."""

from math import hypot, isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from e2mc.config import Experiment
from e2mc.config.stages import grid_criteria
from e2mc.files import write_text
from e2mc.plan import needs
from e2mc.reporting import findings, latex
from e2mc.reporting.accuracies import evaluation
from e2mc.reporting.names import METHODS, PROTOCOLS, criterion_name
from e2mc.reporting.published import Published, published_cells
from e2mc.reporting.results import Entry, read_scores, summarise
from e2mc.reporting.significance import to_csv

SMALLEST_STANDARD_ERROR = 0.05
"""Per cent. Published numbers are rounded and standard errors of three trials scatter, so none is
taken to be smaller; it also stands in where none is printed or computed."""

LARGEST_Z = 3.0
"""Beyond it a cell differs: 4 % of differences of two means of three trials each (t, 4 degrees of
freedom), and at least 0.21 points."""

VERDICTS = ("reproduced", "differs", "not comparable at this scale", "missing")


def write_reproduction(experiment: Experiment, results: Path, csv: Path, tex: Path) -> None:
    """Write the comparison with every published accuracy, as CSV and as LaTeX.

    Args:
        experiment: the experiment.
        results: its results folder.
        csv: destination.
        tex: destination; one table environment per base model of the paper and one for the grid.
    """
    scores = read_scores(results, needs.reproduction_inputs(experiment))
    frame = reproduction(experiment, scores)
    write_text(csv, to_csv(frame))
    write_text(tex, _latex(experiment, scores, frame))


def reproduction(experiment: Experiment, scores: pd.DataFrame) -> pd.DataFrame:
    """One line per published cell of Tables 1, 2, 3 and D.2.

    `z` is the difference over both standard errors combined, each at least
    :data:`SMALLEST_STANDARD_ERROR`. The verdict is ``reproduced`` if it is within
    :data:`LARGEST_Z`, else ``differs``; ``not comparable at this scale`` for an experiment whose
    target the published numbers are not; ``missing`` without a computed number. Table D.1 is of
    single models and has its published numbers beside it in ``table_d1.csv``.
    """
    stands_for = {base.published: name for name, base in experiment.bases.items()}
    lines = []
    ablation = experiment.tables.table_d2
    of_grid = scores[scores["trial"] < (ablation.trials if ablation else 0)]
    for (row, criterion, protocol), printed in published_cells().items():
        base = stands_for.get(row)
        ours = criterion if base is None else _configured(experiment, base, criterion)
        asked = of_grid if criterion.startswith("grid-") else scores
        entry = None if base is None else summarise(asked, base, ours, protocol)
        lines.append(
            {"row": row, "criterion": criterion, "protocol": protocol, "base": base or ""}
            | _compare(experiment, printed, entry)
            | {"evaluation": evaluation(base, ours, protocol) if base else ""}
        )
    return pd.DataFrame(lines)


def _configured(experiment: Experiment, base: str, criterion: str) -> str:
    """The name under which a row of Table D.2 was trained."""
    ablation = experiment.tables.table_d2
    if not criterion.startswith("grid-") or ablation is None or ablation.base != base:
        return criterion
    printed = [f"grid-{beta:g}-{gamma:g}" for beta, gamma in ablation.grid]
    return dict(zip(printed, grid_criteria(experiment), strict=True)).get(criterion, criterion)


def _compare(experiment: Experiment, printed: Published, entry: Entry | None) -> dict[str, Any]:
    error = nan if printed.standard_error is None else printed.standard_error
    line: dict[str, Any] = {
        "published": printed.mean,
        "published_standard_error": error,
        "published_mark": printed.marker or printed.inferred or "",
    }
    if entry is None or isnan(entry.mean):
        note = "no base of this experiment stands for the row" if entry is None else entry.note
        empty = dict.fromkeys(("computed", "standard_error", "difference", "z"), nan)
        return line | empty | {"n": 0, "verdict": "missing", "note": note}
    difference = entry.mean - printed.mean
    z = difference / hypot(*(_at_least(value) for value in (entry.standard_error, error)))
    verdict = "reproduced" if abs(z) <= LARGEST_Z else "differs"
    return line | {
        "computed": entry.mean,
        "standard_error": entry.standard_error,
        "difference": difference,
        "z": z,
        "n": entry.n,
        "verdict": verdict if experiment.comparable else "not comparable at this scale",
        "note": entry.note,
    }


def _at_least(error: float) -> float:
    return SMALLEST_STANDARD_ERROR if isnan(error) else max(error, SMALLEST_STANDARD_ERROR)


def _latex(experiment: Experiment, scores: pd.DataFrame, frame: pd.DataFrame) -> str:
    grid = frame["criterion"].str.startswith("grid-")
    parts = [(str(row), part) for row, part in frame[~grid].groupby("row", sort=False)]
    parts.append(("table-d2", frame[grid]))
    return "\n".join(_table(experiment, scores, row, part) for row, part in parts)


def _table(experiment: Experiment, scores: pd.DataFrame, row: str, part: pd.DataFrame) -> str:
    counts = part["verdict"].value_counts()
    verdicts = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    what = f"the paper's {_row_name(row)}" if row != "table-d2" else "Table D.2 of the paper"
    caption = (
        rf"Reproduction of {what} (\%): {verdicts}. $z$: difference over both standard errors, "
        f"each at least {SMALLEST_STANDARD_ERROR:g}; reproduced: $|z|\\le{LARGEST_Z:g}$."
        + findings.scale(experiment, scores)
    )
    head = latex.row(
        ["Criterion", "Protocol", "Published", "Computed", r"$\Delta$", "$z$", "Verdict"]
    )
    groups = [
        [_line(line) for line in lines.to_dict("records")]
        for _, lines in part.groupby("criterion" if row != "table-d2" else "row", sort=False)
    ]
    label = f"reproduction-{row}"
    return latex.table(caption, label, "llccrrl", [head], groups, r"\scriptsize")


def _row_name(row: str) -> str:
    method, epochs = row.split("-")
    return f"{METHODS[method]} ({epochs} epochs)"


def _line(line: dict[Any, Any]) -> str:
    criterion = line["criterion"]
    if criterion.startswith("grid-"):
        beta, gamma = criterion.split("-")[1:]
        display = rf"$\beta={beta}$, $\gamma={gamma}$"
    else:
        display = latex.name(criterion_name(criterion))
    z = latex.MISSING if isnan(line["z"]) else f"${line['z']:.1f}$"
    return latex.row(
        [
            display,
            PROTOCOLS[line["protocol"]],
            latex.estimate(line["published"], line["published_standard_error"]),
            latex.estimate(line["computed"], line["standard_error"]),
            latex.signed(line["difference"]),
            z,
            line["verdict"].removesuffix(" at this scale"),
        ]
    )
