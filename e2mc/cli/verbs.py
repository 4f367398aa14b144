"""What each verb of the command line does: one verb per stage.

A verb reads the experiment, takes the slice of it that its stage depends on, and hands that slice
and the paths to the stage. Stages are imported inside their verb: importing torch alone takes
seconds, and most verbs need only a part of the packages.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name

from e2mc.config import Experiment, load_experiment, stages
from e2mc.config.settings import TrainSettings
from e2mc.errors import E2MCError
from e2mc.plan import layout, needs
from e2mc.plan.layout import results

Arguments = argparse.Namespace
Run = Callable[[Arguments], None]


def prepare(arguments: Arguments) -> None:
    """Write the data sets that the experiment prepares itself."""
    from e2mc.data.prepare import prepare as write_data
    from e2mc.files import write_json

    write_json(arguments.output, write_data(stages.prepare_settings(_experiment(arguments))))


def fetch(arguments: Arguments) -> None:
    """Download public files, held to the published hash or the one pinned at first download."""
    from e2mc.download.fetch import fetch as fetch_file
    from e2mc.download.registry import find

    for file in find(arguments.name):
        print(fetch_file(file, arguments.folder, _open_checkpoint))


def _open_checkpoint(path: Path) -> None:
    from e2mc.models.pickled import read_pickled

    read_pickled(path)


def import_checkpoint(arguments: Arguments) -> None:
    """Turn an official checkpoint into the one layout of this project."""
    from e2mc.download.fetch import fetch as fetch_file
    from e2mc.download.registry import find_checkpoint
    from e2mc.files import write_record
    from e2mc.methods.official import import_checkpoint as import_official
    from e2mc.provenance import provenance

    experiment = _experiment(arguments)
    settings = stages.import_checkpoint_settings(experiment, arguments.base)
    registered = experiment.bases[arguments.base].registered
    source: dict[str, object] = {}
    if registered is not None:
        # a file placed by hand is held to the same hash as a download
        file = find_checkpoint(registered)
        fetch_file(file, arguments.source.parent, _open_checkpoint)
        source["url"] = file.url
        source["hash"] = "pinned at first download" if file.sha256 is None else "published"
    import_official(arguments.source, settings.recipe, settings.backbone, arguments.output)
    made = provenance(settings.model_dump(mode="json"), {"source": arguments.source})
    record = arguments.output.with_suffix(".json")
    source |= {"sha256": made["inputs"]["source"], "bytes": arguments.source.stat().st_size}
    write_record(record, {"source": source, "provenance": made}, [arguments.output])


def scratch(arguments: Arguments) -> None:
    """Train a base model from random weights."""
    settings = stages.scratch_settings(_experiment(arguments), arguments.base)
    _train(settings, None, arguments)


def pretrain(arguments: Arguments) -> None:
    """Train a base model further with a criterion; without one, as `scratch`."""
    if arguments.criterion is None:
        scratch(arguments)
        return
    if arguments.criterion == "base":
        raise E2MCError("'base' is the checkpoint as it is: train with `continued` or a criterion")
    if arguments.start is None:
        raise E2MCError("--criterion goes on from an imported checkpoint: give it with --start")
    settings = stages.pretrain_settings(
        _experiment(arguments), arguments.base, arguments.criterion, arguments.trial
    )
    _train(settings, arguments.start, arguments)


def _train(settings: TrainSettings, start: Path | None, arguments: Arguments) -> None:
    from e2mc.training.loop import train

    train(settings, start, arguments.output, arguments.history, arguments.metrics, arguments.state)


def extract(arguments: Arguments) -> None:
    """Cache a model's features."""
    from e2mc.evaluation.features import extract as extract_features

    settings = stages.extract_settings(
        _experiment(arguments), arguments.base, arguments.trial, tuple(arguments.dataset)
    )
    extract_features(settings, arguments.model, arguments.output, arguments.embeddings)


def evaluate(stage: str, arguments: Arguments) -> None:
    """A protocol on cached features: `e2mc.evaluation.<stage>` has its function."""
    stage = "inat18" if getattr(arguments, "protocol", None) == "inat18" else stage
    experiment = _experiment(arguments)
    settings = stages.protocol_settings(experiment, stage, arguments.base, arguments.trial)
    run = resolve_name(f"e2mc.evaluation.{stage}:{stage}")
    run(settings, arguments.train, arguments.test, arguments.output)


def evaluate_model(stage: str, arguments: Arguments) -> None:
    """A protocol on a model itself, which goes on where it was killed."""
    experiment = _experiment(arguments)
    settings = stages.protocol_settings(experiment, stage, arguments.base, arguments.trial)
    run = resolve_name(f"e2mc.evaluation.{stage}:{stage}")
    run(settings, arguments.model, arguments.output, arguments.state)


def snapshots(arguments: Arguments) -> None:
    """Probe the snapshots of a continued pre-training, for Figure 4."""
    from e2mc.evaluation.snapshots import snapshots as probe

    settings = stages.snapshot_settings(_experiment(arguments), arguments.base, arguments.trial)
    probe(settings, arguments.models, arguments.output, arguments.state)


def knn(arguments: Arguments) -> None:
    """Nearest neighbours on cached ImageNet features."""
    from e2mc.evaluation.knn import knn as nearest_neighbours

    settings = stages.knn_settings(_experiment(arguments), arguments.base)
    nearest_neighbours(
        settings, arguments.train, arguments.test, arguments.embeddings, arguments.output
    )


def significance(arguments: Arguments) -> None:
    """Paired tests of every comparison that the tables make."""
    from e2mc.reporting.significance import write_statistics

    experiment = _experiment(arguments)
    folder = results(experiment.name)
    write_statistics(experiment, folder)
    _seal([folder / layout.STATISTICS.format(name=name) for name in needs.STATISTICS_NAMES])


def table(arguments: Arguments) -> None:
    """Write one table as CSV and LaTeX."""
    from e2mc.reporting.tables import write_table

    experiment = _experiment(arguments)
    folder = results(experiment.name)
    write_table(experiment, folder, arguments.name, arguments.csv, arguments.tex)
    _seal([arguments.csv, arguments.tex])


def figure(arguments: Arguments) -> None:
    """Draw one figure."""
    from e2mc.reporting.figures import write_figure

    experiment = _experiment(arguments)
    write_figure(experiment, results(experiment.name), arguments.name, arguments.output)
    _seal(arguments.output)


def page(arguments: Arguments) -> None:
    """Write one page of the HTML report."""
    from e2mc.reporting.pages import write_page

    experiment = _experiment(arguments)
    write_page(experiment, results(experiment.name), arguments.name, arguments.output)
    _seal([arguments.output])


def index(arguments: Arguments) -> None:
    """Write the whole result as one HTML file."""
    from e2mc.reporting.front_page import write_front_page

    experiment = _experiment(arguments)
    write_front_page(experiment, results(experiment.name), arguments.output)


def summary(arguments: Arguments) -> None:
    """Say where the results are and what they show."""
    from e2mc.files import write_text
    from e2mc.reporting.summary import summary as summarise

    experiment = _experiment(arguments)
    write_text(arguments.output, summarise(experiment, results(experiment.name)))
    _seal([arguments.output])


def _seal(written: Sequence[Path]) -> None:
    """What nobody reads has a record too, of the first file's name: it tells damage."""
    from e2mc.files import write_record

    record = written[0].with_suffix(".json")
    write_record(record, {}, [path for path in written if path.parent == record.parent])


def checklist(arguments: Arguments) -> None:
    """Answer a reproducibility checklist, as Markdown, from an experiment and its results."""
    from e2mc.reporting.checklist import checklist as answer

    experiment = _experiment(arguments)
    print(answer(experiment, results(experiment.name)))


def status(arguments: Arguments) -> None:
    """Say what every job of an experiment is doing, from files alone."""
    from e2mc.status.report import report

    print(report(arguments.config, everything=arguments.all))


def verify(arguments: Arguments) -> None:
    """Say whether what is printed follows from the results that lie there."""
    from e2mc.reporting.verify import run

    sys.exit(run(arguments.results))


def ledger(arguments: Arguments) -> None:
    """Add complete runs to the ledger of results."""
    from e2mc.reporting.ledger import record

    record(arguments.results, arguments.output)


def doctor(arguments: Arguments) -> None:
    """Check everything that would otherwise fail after hours."""
    from e2mc.doctor import run

    measure = resolve_name("e2mc.evaluation.speed:measure") if arguments.benchmark else None
    sys.exit(run(_experiment(arguments), arguments.all_images, measure))


def _experiment(arguments: Arguments) -> Experiment:
    return load_experiment(arguments.config)
