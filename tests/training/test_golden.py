"""The losses of tiny trainings are those of the version before.

A change of these numbers is a change of the method: after one that is meant, write them again with
`python -m tests.training.test_golden`. Rounding differs between processors and versions of PyTorch,
hence the tolerance; that reruns on one machine are equal bit for bit is tested elsewhere.
"""

import csv
import json
import tempfile
from pathlib import Path

import pytest

from tests.training.tiny import CRITERION, RECIPES, tiny_settings, train, write_images

GOLDEN = Path(__file__).with_name("golden_losses.json")
TOLERANCE = 1e-3


def losses(method: str, folder: Path) -> dict[str, list[float]]:
    """Term -> its mean in each of three epochs of training with E2MC."""
    settings = tiny_settings(write_images(folder / "images"), method, CRITERION)
    train(settings, folder)
    with (folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    timed = ("epoch", "images_per_second", "data_wait_share", "corrupt_images")
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name not in timed}


@pytest.mark.parametrize("method", sorted(RECIPES))
def test_losses_are_those_of_the_version_before(method: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())[method]
    found = losses(method, tmp_path)
    assert set(found) == set(golden)
    for term, values in golden.items():
        assert found[term] == pytest.approx(values, rel=TOLERANCE, abs=1e-6), term


if __name__ == "__main__":
    written = {}
    for name in sorted(RECIPES):
        with tempfile.TemporaryDirectory() as scratch:
            written[name] = losses(name, Path(scratch))
    GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
