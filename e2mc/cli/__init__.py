"""The command line, installed as `e2mc`."""

import sys
from collections.abc import Sequence

from e2mc.warm import run_there


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; a mistake that the user can mend is one message and exit status 1."""
    if arguments is None:
        # the command itself, which may have a server to do its work
        status = run_there(sys.argv[1:])
        if status is not None:
            sys.exit(status)
    try:
        from e2mc.cli.command_line import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "e2mc":
            raise
        from e2mc.cli.library import main as run
    run(arguments)


__all__ = ["main"]
