import pytest

from e2mc.plan.quantities import duration, readable


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 bytes"), (999, "999 bytes"), (1e4, "10 kB"), (3.6e12, "3.6 TB"), (1.4e9, "1.4 GB")],
)
def test_readable(size: float, text: str) -> None:
    assert readable(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3570, "1 h 0 min")),
        *((12_345, "3 h 26 min"), (86_400, "1 d 0 h"), (200_000, "2 d 7 h")),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
