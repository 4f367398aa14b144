"""The command line, installed as `e2mc`."""

try:
    from e2mc.cli.command_line import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] == "e2mc":
        raise
    from e2mc.cli.library import main

__all__ = ["main"]
