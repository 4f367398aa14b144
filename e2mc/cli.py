"""The command line: one verb per stage, every Snakemake rule calls exactly one.

A verb reads the experiment, takes the slice of it that its stage depends on, and hands that
slice and the paths to the stage. Stages are imported inside their verb: importing torch alone
takes seconds, most verbs need only a part of the packages, and `compare` none but the library's.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from e2mc import __version__
from e2mc.errors import E2MCError

if TYPE_CHECKING:
    from e2mc.config import Experiment

Arguments = argparse.Namespace


def prepare_demo(arguments: Arguments) -> None:
    """Write the data sets that the experiment prepares itself."""
    from e2mc.data.prepare import prepare
    from e2mc.files import write_json

    summary = prepare(_experiment(arguments).data)
    write_json(arguments.output, summary)


def fetch(arguments: Arguments) -> None:
    """Download a checkpoint of the registry, ImageNet's label lists or CIFAR-10, verified."""
    from e2mc.download import registry

    if arguments.name == "label-lists":
        print(*registry.fetch_label_lists(arguments.folder).values(), sep="\n")
    elif arguments.name == "cifar10":
        print(registry.download_cifar10(arguments.folder))
    else:
        print(registry.fetch(arguments.name, arguments.folder))


def import_checkpoint(arguments: Arguments) -> None:
    """Turn an official checkpoint into the one layout of this project."""
    from e2mc.config import stages
    from e2mc.download.registry import fetch as fetch_checkpoint
    from e2mc.models.official import import_checkpoint as import_official

    experiment = _experiment(arguments)
    registered = experiment.bases[arguments.base].registered
    if registered is not None:
        # a file placed by hand is held to the same hash as a download
        fetch_checkpoint(registered, arguments.source.parent)
    settings = stages.import_settings(experiment, arguments.base)
    import_official(
        arguments.source, settings.method, settings.recipe, settings.backbone, arguments.output
    )


def pretrain(arguments: Arguments) -> None:
    """Train a base model from scratch, or go on from one with a criterion."""
    from e2mc.config import stages
    from e2mc.training.loop import train

    experiment = _experiment(arguments)
    if arguments.criterion is None:
        settings = stages.scratch_settings(experiment, arguments.base)
    else:
        settings = stages.pretrain_settings(
            experiment, arguments.base, arguments.criterion, arguments.trial
        )
    train(
        settings,
        arguments.start,
        arguments.output,
        arguments.history,
        arguments.metrics,
        arguments.state,
    )


def extract(arguments: Arguments) -> None:
    """Cache a model's features."""
    from e2mc.config import stages
    from e2mc.evaluation.features import extract as extract_features

    settings = stages.extract_settings(
        _experiment(arguments), arguments.base, arguments.trial, tuple(arguments.dataset)
    )
    extract_features(settings, arguments.model, arguments.output, arguments.embeddings)


def linear(arguments: Arguments) -> None:
    """Linear probes on cached ImageNet features, or on cached iNat18 maps."""
    from e2mc.config import stages

    experiment = _experiment(arguments)
    if arguments.protocol == "inat18":
        from e2mc.evaluation.inat18 import inat18

        inat18(
            stages.inat_settings(experiment, arguments.trial),
            arguments.train,
            arguments.test,
            arguments.output,
        )
        return
    from e2mc.evaluation.linear import linear as linear_probes

    settings = stages.linear_settings(experiment, arguments.base, arguments.trial)
    linear_probes(settings, arguments.train, arguments.test, arguments.output)


def semisup(arguments: Arguments) -> None:
    """Fine-tune on 1 and 10 per cent of the labels."""
    from e2mc.config import stages
    from e2mc.evaluation.semisup import semisup as fine_tune

    settings = stages.semisup_settings(_experiment(arguments), arguments.base, arguments.trial)
    fine_tune(settings, arguments.model, arguments.output, arguments.state)


def svm(arguments: Arguments) -> None:
    """One-versus-rest SVMs on cached VOC07 features."""
    from e2mc.config import stages
    from e2mc.evaluation.voc07 import voc07

    settings = stages.svm_settings(_experiment(arguments), arguments.trial)
    voc07(settings, arguments.train, arguments.test, arguments.output)


def knn(arguments: Arguments) -> None:
    """Nearest neighbours on cached ImageNet features."""
    from e2mc.config import stages
    from e2mc.evaluation.knn import knn as nearest_neighbours

    settings = stages.neighbour_settings(_experiment(arguments), arguments.base)
    nearest_neighbours(
        settings, arguments.train, arguments.test, arguments.embeddings, arguments.output
    )


def compare(arguments: Arguments) -> None:
    """Paired tests on prediction files."""
    from e2mc.reporting.compare import run

    run(
        arguments.base,
        arguments.models,
        columns=arguments.columns,
        csv=arguments.csv,
        latex=arguments.latex,
        as_json=arguments.json,
    )


def significance(arguments: Arguments) -> None:
    """Paired tests of every comparison that the tables make."""
    from e2mc.plan.layout import results
    from e2mc.reporting.significance import write_statistics

    experiment = _experiment(arguments)
    write_statistics(experiment, results(experiment.name))


def table(arguments: Arguments) -> None:
    """Write one table as CSV and LaTeX."""
    from e2mc.plan.layout import results
    from e2mc.reporting.tables import write_table

    experiment = _experiment(arguments)
    folder = results(experiment.name)
    write_table(experiment, folder, arguments.name, arguments.csv, arguments.tex)


def figure(arguments: Arguments) -> None:
    """Draw one figure."""
    from e2mc.plan.layout import results
    from e2mc.reporting.figures import write_figure

    experiment = _experiment(arguments)
    write_figure(experiment, results(experiment.name), arguments.name, arguments.output)


def page(arguments: Arguments) -> None:
    """Write one page of the HTML report."""
    from e2mc.plan.layout import results
    from e2mc.reporting.pages import write_page

    experiment = _experiment(arguments)
    write_page(experiment, results(experiment.name), arguments.name, arguments.output)


def summary(arguments: Arguments) -> None:
    """Say where the results are and what they show."""
    from e2mc.files import write_text
    from e2mc.plan.layout import results
    from e2mc.reporting.summary import summary as summarise

    experiment = _experiment(arguments)
    write_text(arguments.output, summarise(experiment, results(experiment.name)))


def status(arguments: Arguments) -> None:
    """Say what every job of an experiment is doing, from files alone."""
    from e2mc.status.report import report

    print(report(arguments.config, everything=arguments.all))


def doctor(arguments: Arguments) -> None:
    """Check everything that would otherwise fail after hours."""
    from e2mc.doctor import run

    sys.exit(run(_experiment(arguments), all_images=arguments.all_images))


def _experiment(arguments: Arguments) -> "Experiment":
    from e2mc.config import load_experiment

    return load_experiment(arguments.config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="e2mc", description="Each stage of the pipeline by hand, and the tests by themselves."
    )
    parser.add_argument("--version", action="version", version=f"e2mc {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable[[Arguments], None], *options: str) -> argparse.ArgumentParser:
        chosen = verbs.add_parser(name, help=run.__doc__, description=run.__doc__)
        chosen.set_defaults(run=run, verb=name)
        for option in options:
            _OPTIONS[option](chosen)
        return chosen

    verb("prepare-demo", prepare_demo, "config", "output")
    fetching = verb("fetch", fetch)
    fetching.add_argument("name", help="name in config/checkpoints.csv, label-lists, or cifar10")
    fetching.add_argument("--folder", type=Path, required=True, help="where the file goes")
    importing = verb("import-checkpoint", import_checkpoint, "config", "base", "output")
    importing.add_argument("--source", type=Path, required=True, help="official checkpoint")
    training = verb("pretrain", pretrain, "config", "base", "trial", "output", "state")
    training.add_argument("--criterion", help="criterion to go on with; none: train from scratch")
    training.add_argument("--start", type=Path, help="imported checkpoint to go on from")
    training.add_argument("--history", type=Path, required=True, help="CSV, one line per epoch")
    training.add_argument("--metrics", type=Path, required=True, help="JSON at the end")
    extracting = verb("extract", extract, "config", "base", "trial", "model", "output")
    extracting.add_argument(
        "--dataset", nargs="+", required=True, choices=["imagenet", "inat18", "voc07"]
    )
    extracting.add_argument("--embeddings", type=Path, help="also keep test embeddings here")
    probing = verb("linear", linear, "config", "base", "trial", "features", "output")
    probing.add_argument("--protocol", choices=["imagenet", "inat18"], default="imagenet")
    verb("semisup", semisup, "config", "base", "trial", "model", "output", "state")
    verb("svm", svm, "config", "trial", "features", "output")
    comparing_images = verb("knn", knn, "config", "base", "features", "output")
    comparing_images.add_argument(
        "--embeddings", type=Path, required=True, help="embeddings.npy of the extraction"
    )
    comparing = verb("compare", compare)
    comparing.add_argument("base", type=Path, help="predictions.csv of the base model")
    comparing.add_argument("models", type=Path, nargs="+", help="predictions.csv of other models")
    comparing.add_argument(
        "--columns",
        type=_column_names,
        metavar="sample=NAME,...",
        help="your names for the columns sample, label, prediction (or class, label, score)",
    )
    comparing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    comparing.add_argument("--csv", type=Path, help="also write the table as CSV")
    comparing.add_argument("--latex", type=Path, help="also write the table as LaTeX")
    verb("significance", significance, "config")
    tabulating = verb("table", table, "config")
    tabulating.add_argument("name", help="table1, table2, table3, table_d1, table_d2, reproduction")
    tabulating.add_argument("--csv", type=Path, required=True)
    tabulating.add_argument("--tex", type=Path, required=True)
    drawing = verb("figure", figure, "config")
    drawing.add_argument("name", help="figure2, figure3, figure4, figure_d1")
    drawing.add_argument("--output", type=Path, nargs="+", required=True, help="one per format")
    paging = verb("page", page, "config", "output")
    paging.add_argument("name", help="a table, reproduction, significance, trials, overview")
    verb("summary", summary, "config", "output")
    looking = verb("status", status)
    looking.add_argument("--config", type=Path, help="one experiment; else all under results/")
    looking.add_argument("--all", action="store_true", help="also list what is done or not begun")
    examining = verb("doctor", doctor, "config")
    examining.add_argument("--all-images", action="store_true", help="decode every image")
    return parser


def _column_names(text: str) -> dict[str, str]:
    pairs = dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
    unknown = set(pairs) - {"sample", "class", "label", "prediction", "score"}
    if unknown or len(pairs) < len(text.split(",")):
        raise argparse.ArgumentTypeError(
            f"{text!r} should read sample=NAME,label=NAME,prediction=NAME (or class=, score=)"
        )
    return pairs


def _option(
    flag: str, *, default: object = None, kind: type = Path, note: str
) -> Callable[..., None]:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(flag, type=kind, default=default, required=default is None, help=note)

    return add


def _features(parser: argparse.ArgumentParser) -> None:
    for split in ("train", "test"):
        parser.add_argument(f"--{split}", type=Path, required=True, help=f"{split} index.json")


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "config": _option("--config", default=Path("config/demo.yaml"), note="the experiment"),
    "base": _option("--base", kind=str, note="a name under `bases`"),
    "trial": _option("--trial", default=0, kind=int, note="seed of everything random"),
    "model": _option("--model", note="safetensors file"),
    "output": _option("--output", note="what is written"),
    "state": _option("--state", note="resumable state, kept when the run is killed"),
    "features": _features,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; a mistake that the user can mend is one message and exit status 1."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except E2MCError as error:
        sys.exit(f"e2mc {parsed.verb}: {error}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "e2mc":
            raise
        sys.exit(
            f"e2mc {parsed.verb} needs {error.name}, which is there with the pipeline only: "
            'pip install "e2mc[pipeline]"'
        )
    except BrokenPipeError:
        # whoever read our lines has seen enough; Python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
