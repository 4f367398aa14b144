"""The command line: one verb per stage, every Snakemake rule calls exactly one."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from e2mc import warm
from e2mc.cli import library, verbs
from e2mc.cli.verbs import Run
from e2mc.config.protocols import DATASETS, LINEAR, PROTOCOLS, SNAPSHOTS
from e2mc.errors import E2MCError
from e2mc.lock import heartbeat
from e2mc.plan import layout
from e2mc.plan.head import log_of_this_process
from e2mc.plan.needs import FIGURE_NAMES, TABLE_NAMES

Add = Callable[..., argparse.ArgumentParser]
"""Adds a verb: its name, its function, and the options that it shares with others."""


def _seen_by_status() -> AbstractContextManager[None]:
    """A job of the workflow shows that it runs."""
    log = log_of_this_process()
    return nullcontext() if log is None else heartbeat(layout.heartbeat(log))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="e2mc", description="Each stage of the pipeline by hand, and the tests by themselves."
    )
    library.add_version(parser)
    chosen = parser.add_subparsers(metavar="VERB", required=True)

    def verb(
        name: str, run: Run, *options: str, about: str | None = None, aliases: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        about = about or run.__doc__
        added = chosen.add_parser(name, help=about, description=about, aliases=aliases)
        added.set_defaults(run=run, verb=name)
        for option in options:
            _OPTIONS[option](added)
        return added

    _models(verb)
    _evaluations(verb)
    _reporting(verb)
    _looks(verb)
    return parser


def _models(verb: Add) -> None:
    verb("prepare", verbs.prepare, "config", "output", aliases=["prepare-demo"])
    fetching = verb("fetch", verbs.fetch)
    fetching.add_argument("name", help="name in config/downloads.csv, or a kind: all of it")
    fetching.add_argument("--folder", type=Path, required=True, help="where the file goes")
    importing = verb("import-checkpoint", verbs.import_checkpoint, "config", "base", "output")
    importing.add_argument("--source", type=Path, required=True, help="official checkpoint")
    options = ("config", "base", "training", "output", "state")
    verb("scratch", verbs.scratch, *options)
    training = verb("pretrain", verbs.pretrain, "trial", *options)
    training.add_argument("--criterion", help="criterion to go on with; none: as `scratch`")
    training.add_argument("--start", type=Path, help="imported checkpoint to go on from")
    extracting = verb("extract", verbs.extract, "config", "base", "trial", "model", "output")
    known = f"{', '.join(DATASETS)}, or names under `data.transfer`"
    extracting.add_argument("--dataset", nargs="+", required=True, help=known)
    extracting.add_argument("--embeddings", type=Path, help="also keep test embeddings here")


def _evaluations(verb: Add) -> None:
    """Protocols on cached features have one interface; nearest neighbours need embeddings too."""
    probing = verb("snapshots", verbs.snapshots, "config", "base", "trial", "output", "state")
    probing.add_argument("--models", type=Path, nargs="+", required=True, help="one per epoch")
    for protocol in PROTOCOLS:
        if not protocol.cached and protocol != SNAPSHOTS:
            verb(
                protocol.stage.replace("_", "-"),
                partial(verbs.evaluate_model, protocol.stage),
                *("config", "base", "trial", "model", "output", "state"),
                about=protocol.summary,
            )
        elif protocol.cached and protocol.stage != "knn":
            base = "base" if protocol.by_method else "any-base"
            probing = verb(
                protocol.stage.replace("_", "-"),
                partial(verbs.evaluate, protocol.stage),
                *("config", base, "trial", "features", "output"),
                about=protocol.summary,
                aliases=_ALIASES.get(protocol.stage, ()),
            )
            if protocol == LINEAR:
                # `linear --protocol inat18` is the older name of `inat18`
                older = ["imagenet", "inat18"]
                probing.add_argument("--protocol", choices=older, help=argparse.SUPPRESS)
    comparing = verb("knn", verbs.knn, "config", "base", "features", "output")
    comparing.add_argument(
        "--embeddings", type=Path, required=True, help="embeddings.npy of the extraction"
    )


def _reporting(verb: Add) -> None:
    library.add_compare_options(verb("compare", library.compare))
    verb("significance", verbs.significance, "config")
    tabulating = verb("table", verbs.table, "config")
    tabulating.add_argument("name", help=", ".join((*TABLE_NAMES, "reproduction")))
    tabulating.add_argument("--csv", type=Path, required=True)
    tabulating.add_argument("--tex", type=Path, required=True)
    drawing = verb("figure", verbs.figure, "config")
    drawing.add_argument("name", help=", ".join(FIGURE_NAMES))
    drawing.add_argument("--output", type=Path, nargs="+", required=True, help="one per format")
    paging = verb("page", verbs.page, "config", "output")
    paging.add_argument("name", help="a table, reproduction, significance, trials, overview")
    verb("summary", verbs.summary, "config", "output")
    verb("checklist", verbs.checklist, "config")
    verb("index", verbs.index, "config", "output")


def _looks(verb: Add) -> None:
    looking = verb("status", verbs.status)
    looking.add_argument("--config", type=Path, help="one experiment; else all under results/")
    looking.add_argument("--all", action="store_true", help="also list what is done or not begun")
    verifying = verb("verify", verbs.verify)
    verifying.add_argument("results", type=Path, help="an experiment's folder, e.g. results/demo")
    keeping = verb("ledger", verbs.ledger)
    keeping.add_argument("results", type=Path, nargs="+", help="folders of complete runs")
    keeping.add_argument("--output", type=Path, default=Path("docs/results.md"), help="the ledger")
    examining = verb("doctor", verbs.doctor, "config")
    examining.add_argument("--all-images", action="store_true", help="decode every image")
    measuring = "measure this machine for two minutes: images/s and hours of every stage"
    examining.add_argument("--benchmark", action="store_true", help=measuring)
    serving = verb("serve", _serve)
    serving.add_argument("listener", type=int, help="number of an open, listening socket")


def _option(
    flag: str, *, default: object = None, kind: Callable[[str], object] = Path, note: str
) -> Callable[..., None]:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(flag, type=kind, default=default, required=default is None, help=note)

    return add


def _count(text: str) -> int:
    """A number from 0 on, with which a trial is named; argparse says it if it is none."""
    if not text.isdecimal() or len(text) > 4:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 9999")
    return int(text)


def _features(parser: argparse.ArgumentParser) -> None:
    for split in ("train", "test"):
        parser.add_argument(f"--{split}", type=Path, required=True, help=f"{split} index.json")


def _training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--history", type=Path, required=True, help="CSV, one line per epoch")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON at the end")


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "config": _option("--config", default=Path("config/demo.yaml"), note="the experiment"),
    "base": _option("--base", kind=str, note="a name under `bases`"),
    "any-base": _option("--base", kind=str, default="", note="changes nothing in this protocol"),
    "trial": _option("--trial", default=0, kind=_count, note="seed of everything random"),
    "model": _option("--model", note="safetensors file"),
    "output": _option("--output", note="what is written"),
    "state": _option("--state", note="resumable state, kept when the run is killed"),
    "features": _features,
    "training": _training,
}

_ALIASES = {"voc07": ["svm"]}


def _serve(arguments: argparse.Namespace) -> None:
    """Wait, all imported, for commands to copy this process for; see `e2mc.warm`."""
    asked = warm.serve(arguments.listener)
    if asked is not None:
        main(asked)
        warm.leave()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; a mistake that the user can mend is one message and exit status 1."""
    parsed = _parser().parse_args(arguments)
    try:
        with _seen_by_status():
            parsed.run(parsed)
    except E2MCError as error:
        sys.exit(f"e2mc {parsed.verb}: {error}")
    except BrokenPipeError:
        # whoever read our lines has seen enough; Python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
