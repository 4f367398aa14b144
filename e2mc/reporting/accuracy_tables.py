"""Tables 1, 2 and 3: which models and protocols they show, and what their captions find."""

import pandas as pd

from e2mc.plan import needs
from e2mc.reporting import findings
from e2mc.reporting.accuracies import Arrangement, Model
from e2mc.reporting.names import CRITERIA, E2MC, SHORT_PROTOCOLS, criterion_name
from e2mc.reporting.published import published
from e2mc.reporting.results import Evaluations


def table1(found: Evaluations) -> Arrangement:
    """Every base before and after, by share of the labels."""
    protocols = list(found.scores["protocol"].unique())
    return Arrangement("table1", "Table 1: share of the labels", _by_base(found), protocols)


def table1_caption(found: Evaluations, cells: pd.DataFrame) -> str:
    """With the paired differences to continued training at the fewest labels."""
    experiment, _, scores = found
    fewest = needs.linear_protocols(experiment)[0]
    clauses = [
        findings.clause(experiment, finding)
        for finding in findings.headline(experiment, scores)
        if finding.protocol == fewest
    ]
    caption = (
        "Top-1 accuracy (%) of linear classifiers on frozen features and of fine-tuned networks, "
        f"by share of the labels; {findings.spread(cells)} {findings.views(experiment)} "
        f"{findings.bold(cells, 'its base')} "
    )
    if clauses:
        caption += (
            f"{E2MC} minus continued training with {SHORT_PROTOCOLS[fewest]} of the "
            f"labels, paired by trial: {'; '.join(clauses)}."
        )
    return caption + findings.scale(experiment, scores)


def table2(found: Evaluations) -> Arrangement:
    """Every base before and after, on the transfer data sets."""
    protocols = needs.transfer_protocols(found.experiment)
    return Arrangement("table2", "Table 2: transfer", _by_base(found), protocols)


def table2_caption(found: Evaluations, cells: pd.DataFrame) -> str:
    """With the paired differences to the base on every data set."""
    experiment, _, scores = found
    clauses = [
        f"{SHORT_PROTOCOLS[protocol]}: "
        + ", ".join(
            findings.clause(
                experiment, findings.compare_arms(scores, base, "base", "e2mc", protocol)
            )
            for base in scores["base"].unique()
            if "e2mc" in experiment.bases[base].criteria
        )
        for protocol in needs.transfer_protocols(experiment)
    ]
    return (
        "Transfer: top-1 accuracy (%) of a linear classifier on iNaturalist 2018 and mAP (%) of "
        f"linear SVMs on VOC07; {findings.spread(cells)} Nothing varies in the SVMs of a base. "
        f"{findings.bold(cells, 'its base')} {E2MC} minus base: {'; '.join(clauses)}."
        + findings.scale(experiment, scores)
    )


def table3(found: Evaluations) -> Arrangement:
    """Every criterion on one base, those that the paper does not have in a group of their own."""
    groups = [part for part in _criteria(found) if part]
    protocols = needs.linear_protocols(found.experiment)
    return Arrangement("table3", "Table 3: add-on criteria", groups, protocols, True)


def table3_caption(found: Evaluations, cells: pd.DataFrame) -> str:
    """With the highest mean of every column and whether it is clear."""
    experiment, _, scores = found
    base = str(scores["base"].iloc[0])
    _, extras = _criteria(found)
    return (
        f"Add-on criteria for {findings.base_name(experiment, base)}: top-1 accuracy (%) of "
        f"linear classifiers by share of the labels; {findings.spread(cells)} "
        f"{findings.views(experiment)} "
        f"{findings.bold(cells, 'all rows')} Underlined: second-highest mean. "
        + ("Criteria below the second rule are not in the paper. " if extras else "")
        + _highest(cells)
        + findings.scale(experiment, scores)
    )


def _highest(cells: pd.DataFrame) -> str:
    clauses = []
    for protocol, column in cells.dropna(subset=["mean"]).groupby("protocol", sort=False):
        best = max(column.to_dict("records"), key=lambda cell: cell["mean"])
        clear = "clearly" if best["mark"] == "bold" else "not clearly"
        name = criterion_name(best["criterion"])
        clauses.append(f"{SHORT_PROTOCOLS[str(protocol)]} {name} ({clear})")
    return f"Highest mean: {', '.join(clauses)}." if clauses else ""


def _by_base(found: Evaluations) -> list[list[Model]]:
    arms = found.scores[["base", "criterion"]].drop_duplicates()
    return [
        [(str(base), name) for name in needs.PRINCIPAL if name in set(group["criterion"])]
        for base, group in arms.groupby("base", sort=False)
    ]


def _criteria(found: Evaluations) -> tuple[list[Model], list[Model]]:
    """The models of Table 3 that the paper has, and the others."""
    base = str(found.scores["base"].iloc[0])
    configured = list(found.scores["criterion"].unique())
    order = [name for name in CRITERIA if name in configured]
    order += [name for name in configured if name not in CRITERIA]
    in_paper = [name for name in order if published("swav-800", name, "linear-1")]
    extras = [name for name in order if name not in in_paper]
    return [(base, name) for name in in_paper], [(base, name) for name in extras]
