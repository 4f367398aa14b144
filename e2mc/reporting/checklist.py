"""What reviewers ask about reproducibility, answered from an experiment and its results."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from e2mc.config import Experiment
from e2mc.config.protocols import IMAGENET, dataset_of, transfer_datasets
from e2mc.errors import E2MCError
from e2mc.files import read_json
from e2mc.plan import layout
from e2mc.plan.estimate import estimate
from e2mc.plan.jobs import jobs
from e2mc.reporting.costs import costs, total
from e2mc.reporting.names import commit_name

NOT_YET = "not known before the experiment has run"


def checklist(experiment: Experiment, results: Path) -> str:
    """Markdown: the subjects of the Machine Learning Reproducibility Checklist (Pineau et al.).

    Args:
        experiment: what was, or is to be, run.
        results: its results folder; what is not there yet is said to be unknown.
    """
    records = list(_records(experiment, results))
    lines = [f"# Reproducibility checklist: {experiment.name}", "", experiment.description, ""]
    for title, answers in (
        ("Models and algorithms", _models(experiment)),
        ("Data", (*_data(experiment), *_checkpoints(experiment, results))),
        ("Code", _code(records)),
        ("Results", _results(experiment, results, records)),
    ):
        lines += [f"## {title}", "", *(f"- **{asked}** {told}" for asked, told in answers), ""]
    return "\n".join(lines)


Answers = Iterator[tuple[str, str]]


def _models(experiment: Experiment) -> Answers:
    kinds = sorted(experiment.criteria)
    methods = sorted({base.method for base in experiment.bases.values()})
    yield "Description of the algorithm:", "the paper, arXiv 2411.15931; docs/criteria.md"
    yield "Methods and criteria:", f"{', '.join(methods)}; {', '.join(kinds)}"
    yield "Deviations from paper and official code:", "docs/faithfulness.md"


def _data(experiment: Experiment) -> Answers:
    names = (IMAGENET.name, *transfer_datasets(experiment))
    for name in names:
        dataset = dataset_of(name)
        size = dataset.original
        count = f": {size.train:,} training and {size.test:,} test images" if size else ""
        published = experiment.comparable and count
        yield "Data set:", f"{dataset.title}{published or ''}"
    held_out = experiment.data.evaluate_on == "validation"
    share = f"{experiment.data.validation_fraction:.0%} of the training images, held out"
    yield "Evaluated on:", share if held_out else "the test sets"
    if experiment.data.prepare:
        yield "Preparation:", f"written by `e2mc prepare` ({experiment.data.prepare})"
    yield "Excluded data:", "none"


def _checkpoints(experiment: Experiment, results: Path) -> Answers:
    """What each base was when it was imported."""
    for base in experiment.bases:
        record = results / layout.CHECKPOINT_RECORD.format(base=base)
        try:
            source = read_json(record)["source"] if record.exists() else None
        except (E2MCError, KeyError):
            source = None
        if source is not None:
            held = f"; hash {source['hash']}" if "hash" in source else ""
            yield f"Checkpoint {base}:", f"sha256 {source['sha256']}, {source['bytes']} bytes{held}"


def _code(records: list[dict[str, Any]]) -> Answers:
    yield "Dependencies:", "pyproject.toml; exact versions in constraints.txt, envs/"
    yield "Training and evaluation code:", "one command, `snakemake all`; docs/architecture.md"
    yield "Commit:", _counted(map(commit_name, _of(records, "code")))
    versions = (f"torch {packages['torch']}" for packages in _of(records, "packages"))
    yield "Versions in use:", _counted(versions)


def _results(experiment: Experiment, results: Path, records: list[dict[str, Any]]) -> Answers:
    file = results / layout.EXPERIMENT
    yield "Hyper-parameters:", f"all in {file}, with sources in config/README.md"
    yield "Their choice:", "the paper's; docs/demo.md for experiments that choose their own"
    yield "Runs:", f"{experiment.trials} trials, seeds from {experiment.seed}, trial and stage"
    yield "Spread:", "mean ± standard error over trials; paired tests in docs/statistics.md"
    yield "Planned:", f"{estimate(experiment)}"
    spent = costs(experiment, results)
    yield "Computing so far:", str(total(spent.values())) if spent else NOT_YET
    yield "Devices:", _counted(_of(records, "device"))
    yield "Machines:", _counted(_of(records, "machine"))
    yield "Predictions of every test image:", f"{results}/evaluate/, one predictions.csv each"


def _records(experiment: Experiment, results: Path) -> Iterator[dict[str, Any]]:
    """Provenance of every finished evaluation."""
    for job in jobs(experiment):
        for file in job.records:
            if (results / file).exists():
                try:
                    yield read_json(results / file)["provenance"]
                except (E2MCError, KeyError):
                    continue


def _of(records: list[dict[str, Any]], key: str) -> Iterator[Any]:
    return (record[key] for record in records if record.get(key))


def _counted(values: Iterator[Any]) -> str:
    counts = Counter(values)
    return "; ".join(f"{value} ({count} results)" for value, count in counts.items()) or NOT_YET
