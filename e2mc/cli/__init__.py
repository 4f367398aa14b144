"""The command line, installed as `e2mc`."""

from e2mc.cli.command_line import main

__all__ = ["main"]
