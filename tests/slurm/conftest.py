from collections.abc import Iterator

import pytest

from tests.slurm import cluster as test_cluster


@pytest.fixture(scope="session", name="cluster")
def running_cluster() -> Iterator[None]:
    """The test cluster is up. One that was running before the tests is left running."""
    found = test_cluster.is_up()
    try:
        test_cluster.start()
    except test_cluster.UnavailableError as reason:
        pytest.skip(str(reason))
    yield
    if not found:
        test_cluster.stop()
