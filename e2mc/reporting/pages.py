"""The tables and tests of an experiment as pages of the HTML report.

Every number is a link to the evaluations it was computed from, which stand at the end of its page
with the path of their files and the code, settings and machine that made them.
"""

import re
from collections.abc import Callable, Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import read_json, write_text
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell
from e2mc.reporting.accuracies import evaluation
from e2mc.reporting.names import PROTOCOLS, criterion_name
from e2mc.reporting.overview import overview
from e2mc.reporting.page import (
    MISSING,
    Group,
    Page,
    Row,
    Section,
    Shown,
    estimate,
    number,
    plain,
    pvalue,
    render,
)

Line = dict[Any, Any]
Column = tuple[str, Callable[[Line], Shown]]

TITLES = {
    "table1": "Table 1: share of the labels",
    "table2": "Table 2: transfer",
    "table3": "Table 3: add-on criteria",
    "table_d1": "Table D.1: significance",
    "table_d2": "Table D.2: weights of the two terms",
    "table_transfer": "Transfer with few labels",
    "reproduction": "Reproduction of the published accuracies",
    "significance": "Paired tests over the test images",
    "trials": "Paired tests over the trials",
}


def write_page(experiment: Experiment, results: Path, name: str, output: Path) -> None:
    """Write one page of the report.

    Args:
        experiment: the experiment.
        results: its results folder.
        name: one of :func:`~e2mc.plan.needs.pages`.
        output: destination, one HTML file without resources.

    Raises:
        E2MCError: the experiment has no such page, what it shows is not written yet, or a result
            is damaged.
    """
    cells = needs.page_inputs(experiment, name)
    for file in needs.page_sources(name):
        if not (results / file).exists():
            raise E2MCError(f"{results / file} does not exist: write it before its page")
    if name == "overview":
        write_text(output, render(overview(experiment, results)))
        return
    statistics = name in needs.STATISTICS_NAMES
    pattern = layout.STATISTICS if statistics else layout.TABLE_CSV
    csv = results / pattern.format(name=name, table=name)
    frame = pd.read_csv(csv, dtype=dict.fromkeys(_TEXTS, object)).fillna(dict.fromkeys(_TEXTS, ""))
    tex = results / layout.TABLE_TEX.format(table=name)
    caption = _STATISTICS_CAPTION if statistics else _caption(tex)
    columns = _COLUMNS.get(name)
    body = _accuracies(frame) if columns is None else _lines(frame, columns)
    page = Page(TITLES[name], [caption], [body, _evaluations(results, cells)])
    write_text(output, render(page))


_TEXTS = (
    *("note", "mark", "evaluation", "verdict", "base", "published_mark"),
    *("published_permutation_p", "published_mcnemar_p"),
)

_STATISTICS_CAPTION = (
    "Differences of each criterion from its base and from continued training; Holm-adjusted "
    "p-values are within each base and reference. Differences over images are fractions, over "
    "trials percentage points."
)


def _caption(tex: Path) -> str:
    """That of the LaTeX table, or of its parts with each sentence once."""
    captions = re.findall(r"\\caption\{(.*)\}\n", tex.read_text(encoding="utf-8"))
    sentences = [part for text in captions for part in re.split(r"(?<=\.) ", plain(text))]
    return " ".join(dict.fromkeys(sentences))


def _accuracies(frame: pd.DataFrame) -> Section:
    """A line per model, a column per protocol, published numbers below."""
    grid = "beta" in frame
    keys = ["beta", "gamma"] if grid else ["base", "criterion", "epochs"]
    names = ["β", "γ"] if grid else ["Base", "Trained with", "Epochs"]
    protocols = list(frame["protocol"].unique())
    groups: dict[str, list[Row]] = {}
    for key, cells in frame.groupby(keys, sort=False):
        values = [f"{value:g}" if isinstance(value, float) else str(value) for value in key]
        if not grid:
            values[1] = plain(criterion_name(values[1]))
        by_protocol = {line["protocol"]: line for line in cells.to_dict("records")}
        row = [Shown(value) for value in values]
        row += [_accuracy(by_protocol.get(protocol)) for protocol in protocols]
        groups.setdefault("" if grid else values[0], []).append(Row(row))
    head = [*names, *(plain(PROTOCOLS[name]) for name in protocols)]
    return Section(head=head, groups=[Group(rows) for rows in groups.values()])


def _accuracy(cell: Line | None) -> Shown:
    if cell is None:
        return Shown("")
    below = []
    difference = cell.get("difference", 0.0)
    if difference and not isnan(difference):
        below.append(f"{number(difference, sign=True)} to the first row")
    below += _paper(_published(cell))
    if cell["note"]:
        below.append(str(cell["note"]))
    text = estimate(cell["mean"], cell["standard_error"])
    return Shown(text, cell["evaluation"], tuple(below), cell.get("mark", ""))


def _published(line: Line, prefix: str = "") -> str:
    error = line.get(f"{prefix}published_standard_error", nan)
    mark = {"*": "*", "dagger": "†"}.get(line.get(f"{prefix}published_mark", ""), "")
    return estimate(line[f"{prefix}published"], error) + mark


def _paper(printed: object) -> tuple[str, ...]:
    """The line below a number, unless the paper has none."""
    return () if str(printed) in ("", "nan", MISSING) else (f"paper {printed}",)


def _lines(frame: pd.DataFrame, columns: Sequence[Column]) -> Section:
    """A line per line of the CSV."""
    rows = [Row([show(line) for _, show in columns]) for line in frame.to_dict("records")]
    return Section(head=[name for name, _ in columns], groups=[Group(rows)])


def _text(key: str) -> Callable[[Line], Shown]:
    return lambda line: Shown(str(line[key]))


def _protocol(line: Line) -> Shown:
    return Shown(plain(PROTOCOLS[line["protocol"]]))


def _criterion(key: str) -> Callable[[Line], Shown]:
    return lambda line: Shown(plain(criterion_name(line[key])), _link(line, key))


def _link(line: Line, key: str = "criterion") -> str:
    """To the one model of a test over images, to all trials of any other number."""
    if "evaluation" in line:
        return str(line["evaluation"])
    cell = evaluation(line["base"], line[key], line["protocol"])
    trial = line.get("trial" if key == "criterion" else "reference_trial")
    return cell if trial is None or isnan(trial) else cell.replace("*", f"{trial:g}")


def _linked(show: Callable[[Line], str]) -> Callable[[Line], Shown]:
    return lambda line: Shown(show(line), _link(line))


def _value(key: str, decimals: int = 2, *, sign: bool = False) -> Callable[[Line], Shown]:
    return _linked(lambda line: number(line[key], decimals, sign=sign))


def _pvalue(key: str) -> Callable[[Line], Shown]:
    return _linked(lambda line: pvalue(line[key]))


def _interval(line: Line) -> str:
    low, high = (number(line[f"interval_{end}"], 3, sign=True) for end in ("low", "high"))
    return f"{number(line['difference'], 3, sign=True)} [{low}, {high}]"


def _arm(prefix: str) -> Callable[[Line], Shown]:
    def show(line: Line) -> Shown:
        text = estimate(line[f"{prefix}_mean"], line[f"{prefix}_standard_error"])
        link = evaluation(line["base"], prefix, line["protocol"])
        return Shown(text, link, _paper(_published(line, f"{prefix}_")))

    return show


def _with_paper(show: Callable[[Line], Shown], key: str) -> Callable[[Line], Shown]:
    return lambda line: show(line)._replace(below=_paper(line[f"published_{key}"]))


_PAIR: list[Column] = [
    ("Base", _text("base")),
    ("Reference", _criterion("reference")),
    ("Criterion", _criterion("criterion")),
    ("Protocol", _protocol),
]
_TEST: list[Column] = [
    ("n", _value("n", 0)),
    ("Difference [interval]", _linked(_interval)),
    ("Gained", _value("gained", 0)),
    ("Lost", _value("lost", 0)),
    ("Permutation p", _pvalue("permutation_pvalue")),
    ("Holm p", _pvalue("holm_pvalue")),
    ("Cohen’s d", _value("cohens_d")),
    ("McNemar χ²", _value("mcnemar_statistic")),
    ("McNemar p", _pvalue("mcnemar_pvalue")),
]
_PAPER = {
    "Difference [interval]": "difference",
    "Permutation p": "permutation_p",
    "Cohen’s d": "cohens_d",
    "McNemar χ²": "mcnemar_chi2",
    "McNemar p": "mcnemar_p",
}
_COLUMNS: dict[str, list[Column]] = {
    "table_d1": [
        ("Protocol", _protocol),
        ("Base", _arm("base")),
        ("+ E²MC", _arm("e2mc")),
        *(
            (name, _with_paper(show, _PAPER[name]) if name in _PAPER else show)
            for name, show in _TEST
        ),
    ],
    "table_transfer": [
        ("Data set", _text("dataset")),
        ("Base", _text("base")),
        ("Criterion", _criterion("criterion")),
        ("Classifier", _text("classifier")),
        ("Labelled images per class", _text("shots")),
        ("Top-1", _linked(lambda line: estimate(line["mean"], line["standard_error"]))),
        ("Note", _text("note")),
    ],
    "reproduction": [
        ("Paper", _text("row")),
        ("Criterion", _criterion("criterion")),
        ("Protocol", _protocol),
        ("Published", lambda line: Shown(_published(line))),
        ("Computed", _linked(lambda line: estimate(line["computed"], line["standard_error"]))),
        ("Difference", _value("difference", sign=True)),
        ("z", _value("z", 1, sign=True)),
        ("Verdict", _linked(lambda line: str(line["verdict"]))),
        ("Note", _text("note")),
    ],
    "significance": [
        *_PAIR,
        *_TEST,
        ("Odds ratio", _value("odds_ratio")),
        ("Detectable", _value("detectable_difference", 3)),
        ("Note", _text("note")),
    ],
    "trials": [
        *_PAIR,
        ("Trials", _value("trials", 0)),
        ("Difference", _linked(lambda line: estimate(line["difference"], line["standard_error"]))),
        ("Permutation p", _pvalue("permutation_pvalue")),
        ("Smallest p", _pvalue("smallest_pvalue")),
        ("Detectable", _value("detectable_difference")),
        ("Trials needed", _value("trials_needed", 0)),
        ("Note", _text("note")),
    ],
}


def _evaluations(results: Path, cells: Sequence[Cell]) -> Section:
    """What the links lead to: a group of lines per number, a line per trial."""
    groups: dict[str, list[Row]] = {}
    for cell in cells:
        anchor = evaluation(cell.base, cell.criterion, cell.protocol)
        groups.setdefault(anchor, []).append(_evaluation(results, cell))
    return Section(
        "Evaluations",
        ["Where the links lead. Beside each metrics.json lie the predictions, image by image."],
        head=["File", "Last epoch", "Best epoch", "Tested on", "Code", "Settings", "Device"],
        groups=[Group(rows, anchor) for anchor, rows in groups.items()],
    )


def _evaluation(results: Path, cell: Cell) -> Row:
    file = layout.METRICS.format(**cell._asdict())
    anchor = layout.RESULT.format(**cell._asdict())
    if not (results / file).exists():
        return Row([Shown(file), Shown("not evaluated")], anchor)
    metrics = read_json(results / file)
    source = metrics.get("provenance", {})
    code = source.get("code", {})
    texts = [
        file,
        *(f"{number(metrics[key] or float('nan'))} {metrics['unit']}" for key in ("last", "best")),
        f"{metrics['test_samples']:,}",
        (code.get("commit") or "unknown")[:10] + ("+" if code.get("dirty") else ""),
        source.get("settings_hash", ""),
        source.get("device", ""),
    ]
    return Row([Shown(text) for text in texts], anchor)
