"""What works after `pip install .` alone, without the pipeline's packages: paired tests."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from e2mc import __version__
from e2mc.errors import E2MCError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `compare`; say of every other verb what it needs."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and not given[0].startswith("-") and given[0] != "compare":
        sys.exit(f'e2mc {given[0]} needs the pipeline\'s packages: pip install "e2mc[pipeline]"')
    parser = argparse.ArgumentParser(
        prog="e2mc",
        description="Paired tests on prediction files. Every other verb needs the pipeline's "
        'packages: pip install "e2mc[pipeline]"',
    )
    add_version(parser)
    chosen = parser.add_subparsers(metavar="VERB", required=True)
    add_compare_options(chosen.add_parser("compare", help=compare.__doc__))
    try:
        compare(parser.parse_args(given))
    except E2MCError as error:
        sys.exit(f"e2mc compare: {error}")


def compare(arguments: argparse.Namespace) -> None:
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


def add_version(parser: argparse.ArgumentParser) -> None:
    """The option `--version`."""
    parser.add_argument("--version", action="version", version=f"e2mc {__version__}")


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Files, names of columns and forms of output of `compare`."""
    parser.add_argument("base", type=Path, help="predictions.csv of the base model")
    parser.add_argument("models", type=Path, nargs="+", help="predictions.csv of other models")
    parser.add_argument(
        "--columns",
        type=_column_names,
        metavar="sample=NAME,...",
        help="your names for the columns sample, label, prediction (or class, label, score)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--csv", type=Path, help="also write the table as CSV")
    parser.add_argument("--latex", type=Path, help="also write the table as LaTeX")


def _column_names(text: str) -> dict[str, str]:
    pairs = dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
    unknown = set(pairs) - {"sample", "class", "label", "prediction", "score"}
    if unknown or len(pairs) < len(text.split(",")):
        raise argparse.ArgumentTypeError(
            f"{text!r} should read sample=NAME,label=NAME,prediction=NAME (or class=, score=)"
        )
    return pairs
