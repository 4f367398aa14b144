"""A small results folder with known numbers, in the layout that the stages write."""

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from e2mc.config import Experiment, parse_experiment, stages
from e2mc.files import write_text
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell
from e2mc.provenance import provenance
from e2mc.reporting.frames import read_csv
from e2mc.reporting.front_page import write_front_page
from e2mc.reporting.pages import write_page
from e2mc.reporting.significance import write_statistics
from e2mc.reporting.summary import summary
from e2mc.reporting.tables import write_table

IMAGES = 400
MAP_IMAGES = 10_000
CLASSES = 10
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
Accuracy = Callable[[Cell], float]

E2MC = {
    "vicreg": {"kind": "e2mc", "space": "hypercube", "entropy_weight": 1, "covariance_weight": 2},
    "swav": {
        **{"kind": "e2mc", "space": "hypersphere"},
        **{"entropy_weight": 0.01, "covariance_weight": 0.25},
    },
    "simsiam": {
        **{"kind": "e2mc", "space": "hypersphere"},
        **{"entropy_weight": 0.001, "covariance_weight": 0.01},
    },
}


def experiment(**changes: Any) -> Experiment:
    """Three bases in the manner of the demo; `changes` replace top-level sections."""
    scratch = {"epochs": 60, "batch_size": 64, "learning_rate": 1.0}
    content: dict[str, Any] = {
        "name": "synthetic",
        "images": {"size": 12},
        "bases": {
            "vicreg-60": {"method": "vicreg", "epochs": 60, "published": "vicreg-1000"},
            "swav-60": {
                **{"method": "swav", "epochs": 60, "published": "swav-800"},
                "criteria": ["mec", "continued", "e2mc", "vcreg", "mmcr", "auh"],
            },
            "simsiam-60": {"method": "simsiam", "epochs": 60, "published": "simsiam-100"},
        },
        "criteria": {
            "e2mc": E2MC,
            **{name: {"swav": {"kind": name}} for name in ("vcreg", "mmcr", "auh", "mec")},
        },
        "methods": {name: {"scratch": scratch} for name in ("vicreg", "swav", "simsiam")},
        "tables": {
            "table3": "swav-60",
            "table_d1": "vicreg-60",
            "table_d2": {"base": "swav-60", "unit": [0.01, 0.01]},
        },
    }
    return parse_experiment(content | changes, "synthetic")


def percent(cell: Cell) -> float:
    """Known numbers: E2MC is 2 points above, trials are 0.25 points apart."""
    level = {"linear-1": 50, "linear-10": 60, "linear-100": 70}.get(cell.protocol, 65)
    return level + (2 if cell.criterion == "e2mc" else 0) + 0.25 * (cell.trial - 1)


def write_results(root: Path, cells: Iterable[Cell], accuracy: Accuracy = percent) -> None:
    """Write metrics and predictions of `cells`."""
    for cell in cells:
        score = accuracy(cell)
        path = root / layout.METRICS.format(**cell._asdict())
        path.parent.mkdir(parents=True, exist_ok=True)
        metrics = {"protocol": cell.protocol, "last": score, "best": score + 1, "unit": "%"}
        metrics |= {"metric": "mAP" if cell.protocol == "voc07" else "top-1"}
        path.write_text(json.dumps(metrics | {"best_epoch": 3, "test_samples": IMAGES}))
        lines = multi_label(cell) if cell.protocol == "voc07" else classification(score, cell)
        (root / layout.PREDICTIONS.format(**cell._asdict())).write_text("\n".join(lines) + "\n")


def classification(score: float, cell: Cell) -> list[str]:
    """The first images are classified correctly, but for a few that only this arm confuses."""
    correct = np.arange(IMAGES) < round(score * IMAGES / 100)
    if cell.criterion != "base":
        correct[[0, 1, IMAGES - 1, IMAGES - 2]] ^= True
    labels = np.arange(IMAGES) % CLASSES
    predictions = np.where(correct, labels, (labels + 1) % CLASSES)
    rows = zip(range(IMAGES), labels, predictions, strict=True)
    return ["sample,label,prediction", *(f"image{i}.png,{y},{p}" for i, y, p in rows)]


def multi_label(cell: Cell) -> list[str]:
    rng = np.random.default_rng(cell.trial)
    noise = 0.5 if cell.criterion == "e2mc" else 1.0
    lines = ["sample,class,label,score"]
    for sample in range(40):
        for name in range(5):
            label = 1 if (sample + name) % 3 == 0 else -1
            lines.append(f"{sample},{name},{label},{label + noise * rng.normal():.6f}")
    return lines


def write_figure_inputs(root: Path, settings: Experiment) -> None:
    """Curves, distances and embeddings."""
    rng = np.random.default_rng(0)
    for cell in needs.figure_inputs(settings, "figure_probe_epochs"):
        epochs = np.arange(1, 21)
        top1 = percent(cell) - 20 * np.exp(-epochs / 4) + rng.normal(0, 0.2, 20)
        write_curve(root, cell, epochs, top1)
    figure = settings.figures.figure4
    for cell in needs.figure_inputs(settings, "figure4"):
        epochs = np.array((0, *(figure.snapshots if figure else ())))
        write_curve(root, cell, epochs, 50 + np.log1p(epochs) + rng.normal(0, 0.2, len(epochs)))
    for cell in needs.figure_inputs(settings, "figure_map"):
        sizes = [("random", n, shots) for n in (10, 200) for shots in (1, 5)]
        write_points(root, cell, {point: rng.normal(50) for point in sizes})
    for cell in needs.figure_inputs(settings, "figure3"):
        path = root / layout.DISTANCES.format(**cell._asdict())
        path.parent.mkdir(parents=True, exist_ok=True)
        scale = 1.2 if cell.criterion == "e2mc" else 1.0
        distances = scale * rng.gamma((20, 60), 0.02, size=(500, 2))
        np.save(path, distances.astype(np.float32))
    for cell in needs.figure_inputs(settings, "figure_d1"):
        path = root / layout.EMBEDDINGS.format(**cell._asdict())
        path.parent.mkdir(parents=True, exist_ok=True)
        mixture = rng.normal(size=(600, 8)) @ (
            rng.normal(size=(8, 8)) if cell.criterion == "base" else np.eye(8)
        )
        np.save(path, mixture.astype(np.float32))


def write_curve(root: Path, cell: Cell, epochs: Any, top1: Any) -> None:
    path = root / layout.CURVE.format(**cell._asdict())
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{e},{t:.3f},1.0,0.1" for e, t in zip(epochs, top1, strict=True)]
    path.write_text("\n".join(["epoch,top1,train_loss,learning_rate", *rows]) + "\n")


def write_points(root: Path, cell: Cell, points: dict[tuple[str, int, int], float]) -> None:
    """Accuracy by subset, classes and shots."""
    path = root / layout.METRICS.format(**cell._asdict())
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"subset": subset, "classes": classes, "shots": shots, "top1": top1}
        for (subset, classes, shots), top1 in points.items()
    ]
    metrics = {"protocol": cell.protocol, "last": 40.0, "best": 40.0, "test_samples": MAP_IMAGES}
    classes = max(classes for _, classes, _ in points)
    path.write_text(json.dumps({**metrics, "classes": classes, "points": lines}))


def all_cells(settings: Experiment) -> list[Cell]:
    cells = needs.reproduction_inputs(settings) + needs.statistics_inputs(settings)
    return list(dict.fromkeys(cells))


def write_everything(results: Path, settings: Experiment) -> None:
    """All results: evaluations, records of trainings, tables, tests, pages; figures are a pixel."""
    write_results(results, all_cells(settings))
    metrics = results / layout.METRICS.format(
        base="swav-60", criterion="e2mc", trial=1, protocol="linear-1"
    )
    made_with = stages.linear_online_settings(settings, "swav-60", 1).model_dump(mode="json")
    recorded = json.loads(metrics.read_text()) | {"provenance": provenance(made_with, {})}
    metrics.write_text(json.dumps(recorded))
    for file in needs.trainings(settings):
        cost = {"seconds": 1800.0, "gpus": 4, "gpu_hours": 2.0, "restarts": 1}
        write_text(results / file, json.dumps({"cost": cost}))
    for table in (*needs.tables(settings), "reproduction"):
        paths = (layout.TABLE_CSV.format(table=table), layout.TABLE_TEX.format(table=table))
        write_table(settings, results, table, *(results / path for path in paths))
    write_statistics(settings, results)
    write_text(results / layout.SUMMARY, summary(settings, results))
    for name in needs.figures(settings):
        for suffix in needs.FIGURE_FORMATS:
            file = results / layout.FIGURE.format(figure=name, format=suffix)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(PIXEL)
    write_front_page(settings, results, results / layout.FRONT_PAGE)
    for page in needs.pages(settings):
        write_page(settings, results, page, results / layout.PAGE.format(page=page))


def written(
    settings: Experiment, results: Path, table: str, folder: Path
) -> tuple[pd.DataFrame, str]:
    """The CSV and the LaTeX of one table."""
    csv, tex = folder / f"{table}.csv", folder / f"{table}.tex"
    write_table(settings, results, table, csv, tex)
    return read_csv(csv), tex.read_text()


def rows(tex: str) -> list[list[str]]:
    """The cells of the first tabular of `tex`, without its heads."""
    body = tex.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in lines]
