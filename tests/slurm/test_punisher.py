"""A random campaign against trainings on the test cluster: none is lost, none differs."""

from pathlib import Path

import pytest

from tests.slurm.punisher import Campaign

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("cluster")]


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_happens_the_weights_are_the_same(tmp_path: Path, seed: int) -> None:
    report = Campaign(tmp_path / "toy", seed, minutes=5, every=15).run()
    print(report)
    assert report.disturbances.total() > 5
    assert report.restarts > 5
    assert report.copies == 0
    assert report.wrong == 0
