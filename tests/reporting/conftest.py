from pathlib import Path

import pytest

from e2mc.config import Experiment
from tests.reporting.synthetic_results import all_cells, experiment, write_everything, write_results


@pytest.fixture(scope="session")
def settings() -> Experiment:
    return experiment()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, settings: Experiment) -> Path:
    """Every evaluation of `settings`; tests only read it."""
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, all_cells(settings))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All results of two trials; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    write_everything(folder, experiment(trials=2))
    return folder
