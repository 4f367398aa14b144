"""The tables of the paper, as CSV and LaTeX."""

from pathlib import Path

import pandas as pd

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.plan import needs
from e2mc.reporting import appendix_tables, findings, latex
from e2mc.reporting.accuracies import Accuracies, accuracy_cells, accuracy_latex
from e2mc.reporting.names import CRITERIA, SHORT_PROTOCOLS, criterion_name
from e2mc.reporting.published import published
from e2mc.reporting.reproduction import write_reproduction
from e2mc.reporting.results import read_scores
from e2mc.reporting.significance import to_csv
from e2mc.reporting.transfer_table import table_transfer


def write_table(experiment: Experiment, results: Path, table: str, csv: Path, tex: Path) -> None:
    """Write one table of the paper.

    The CSV has a line for each cell with the published number beside it, the LaTeX file is a
    complete table environment. Every caption is made from the numbers.

    Args:
        experiment: the experiment.
        results: its results folder.
        table: one of `needs.TABLE_NAMES`, or `reproduction`.
        csv: destination.
        tex: destination.

    Raises:
        E2MCError: no such table in the paper or in this experiment, or a damaged result.
    """
    if table == "reproduction":
        write_reproduction(experiment, results, csv, tex)
        return
    cells = needs.table_inputs(experiment, table)
    if not cells:
        raise E2MCError(
            f"the experiment '{experiment.name}' has no {table}: set `tables` and `data` in its "
            f"configuration. It has {', '.join(needs.tables(experiment))}."
        )
    scores = read_scores(results, cells)
    if table == "table_d1":
        frame, text = appendix_tables.table_d1(experiment, results, scores)
    else:
        frame, text = _BUILDERS[table](experiment, scores)
    write_text(csv, to_csv(frame))
    write_text(tex, text)


def _table1(experiment: Experiment, scores: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    linear = needs.linear_protocols(experiment)
    shown = list(scores["protocol"].unique())
    table = Accuracies("table1", _by_base(scores), shown)
    cells = accuracy_cells(experiment, scores, table)
    clauses = [
        findings.clause(experiment, finding)
        for finding in findings.headline(experiment, scores)
        if finding.protocol == linear[0]
    ]
    caption = (
        r"Top-1 accuracy (\%) of linear classifiers on frozen features and of fine-tuned networks, "
        f"by share of the labels; {findings.spread(cells)} {findings.bold(cells, 'its base')} "
    )
    if clauses:
        caption += (
            f"{latex.E2MC} minus continued training with {SHORT_PROTOCOLS[linear[0]]} of the "
            f"labels, paired by trial: {'; '.join(clauses)}."
        )
    caption += findings.scale(experiment, scores)
    return cells, accuracy_latex(experiment, table, cells, caption)


def _table2(experiment: Experiment, scores: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    protocols = needs.transfer_protocols(experiment)
    table = Accuracies("table2", _by_base(scores), protocols)
    cells = accuracy_cells(experiment, scores, table)
    clauses = [
        f"{SHORT_PROTOCOLS[protocol]}: "
        + ", ".join(
            findings.clause(
                experiment, findings.compare_arms(scores, base, "base", "e2mc", protocol)
            )
            for base in scores["base"].unique()
            if "e2mc" in experiment.bases[base].criteria
        )
        for protocol in protocols
    ]
    caption = (
        r"Transfer: top-1 accuracy (\%) of a linear classifier on iNaturalist 2018 and mAP (\%) of "
        f"linear SVMs on VOC07; {findings.spread(cells)} Nothing varies in the SVMs of a base. "
        f"{findings.bold(cells, 'its base')} {latex.E2MC} minus base: {'; '.join(clauses)}."
        + findings.scale(experiment, scores)
    )
    return cells, accuracy_latex(experiment, table, cells, caption)


def _table3(experiment: Experiment, scores: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    base = str(scores["base"].iloc[0])
    configured = list(scores["criterion"].unique())
    order = [name for name in CRITERIA if name in configured]
    order += [name for name in configured if name not in CRITERIA]
    in_paper = [name for name in order if published("swav-800", name, "linear-1")]
    extras = [name for name in order if name not in in_paper]
    groups = [[(base, name) for name in part] for part in (in_paper, extras) if part]
    table = Accuracies("table3", groups, needs.linear_protocols(experiment), ranked_together=True)
    cells = accuracy_cells(experiment, scores, table)
    caption = (
        f"Add-on criteria for {findings.base_name(experiment, base)}: top-1 accuracy (\\%) of "
        f"linear classifiers by share of the labels; {findings.spread(cells)} "
        f"{findings.bold(cells, 'all rows')} Underlined: second-highest mean. "
        + ("Criteria below the second rule are not in the paper. " if extras else "")
        + _highest(cells)
        + findings.scale(experiment, scores)
    )
    return cells, accuracy_latex(experiment, table, cells, caption)


def _highest(cells: pd.DataFrame) -> str:
    clauses = []
    for protocol, column in cells.dropna(subset=["mean"]).groupby("protocol", sort=False):
        best = max(column.to_dict("records"), key=lambda cell: cell["mean"])
        clear = "clearly" if best["mark"] == "bold" else "not clearly"
        name = latex.name(criterion_name(best["criterion"]))
        clauses.append(f"{SHORT_PROTOCOLS[str(protocol)]} {name} ({clear})")
    return f"Highest mean: {', '.join(clauses)}." if clauses else ""


def _by_base(scores: pd.DataFrame) -> list[list[tuple[str, str]]]:
    arms = scores[["base", "criterion"]].drop_duplicates()
    return [
        [(str(base), name) for name in needs.PRINCIPAL if name in set(group["criterion"])]
        for base, group in arms.groupby("base", sort=False)
    ]


_BUILDERS = {"table1": _table1, "table2": _table2, "table3": _table3}
_BUILDERS["table_d2"] = appendix_tables.table_d2
_BUILDERS["table_transfer"] = table_transfer
