"""One thing that was looked at, and how a list of them is shown."""

import textwrap
from collections.abc import Sequence
from typing import Literal, NamedTuple

Level = Literal["ok", "warning", "error"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    what: str
    remedy: str = ""


def report(findings: Sequence[Finding]) -> str:
    """Findings as aligned plain text, 100 columns wide, with a count at the end."""
    lines: list[str] = []
    for level, what, remedy in findings:
        lines += _wrapped(what, f"{level:9}", " " * 9)
        lines += _wrapped(remedy, " " * 9 + "-> ", " " * 12)
    counts = {level: sum(one.level == level for one in findings) for level in ("error", "warning")}
    summary = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
    return "\n".join([*lines, "", summary])


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=100,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
