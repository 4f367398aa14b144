from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from pypdf import PdfReader

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.figures import _pairs, _unit_cube, write_figure
from tests.reporting.synthetic_results import experiment, write_figure_inputs


@pytest.fixture(scope="module")
def settings() -> Experiment:
    bases = {"vicreg-60": {"method": "vicreg", "epochs": 60}}
    return experiment(bases=bases, tables={}, trials=2)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, settings: Experiment) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_figure_inputs(folder, settings)
    return folder


@pytest.mark.parametrize("figure", needs.FIGURE_NAMES)
def test_figures_show_something_and_always_the_same(
    figure: str, settings: Experiment, results: Path, tmp_path: Path
) -> None:
    first, second = ([tmp_path / f"{n}.{kind}" for kind in ("png", "pdf")] for n in "ab")
    write_figure(settings, results, figure, first)
    write_figure(settings, results, figure, second)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    picture = imread(first[0])[..., :3]
    assert picture.shape[1] > 800 and 0.001 < np.mean(picture.min(axis=2) < 0.9) < 0.6
    text = PdfReader(first[1]).pages[0].extract_text()
    assert "VICReg-60" in text and "MC" in text


def test_embeddings_are_shown_in_the_space_of_the_criterion(tmp_path: Path) -> None:
    both = experiment()
    write_figure_inputs(tmp_path, both)
    for base, expected in (("vicreg-60", 1 / (1 + np.exp(-1))), ("swav-60", 0.8413447)):
        path = tmp_path / f"features/{base}/e2mc/trial0/embeddings.npy"
        np.save(path, np.array([[0.0, 1.0, -40.0]], dtype=np.float32))
        cube = _unit_cube(both, tmp_path, Cell(base, "e2mc", 0, "embeddings"))
        assert cube[0] == pytest.approx([0.5, expected, 0.0], abs=1e-6)


def test_pairs_are_chosen_by_position() -> None:
    cube = np.arange(8.0)[None]
    assert [(x[0], y[0]) for x, y in _pairs(cube, 3)] == [(0, 1), (2, 3), (4, 5)]
    assert [(x[0], y[0]) for x, y in _pairs(cube[:, :2], 3)] == 3 * [(0, 1)]


def test_missing_and_foreign_inputs(settings: Experiment, tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=r"linear-1/history\.csv does not exist"):
        write_figure(settings, tmp_path, "figure4", [tmp_path / "f.png"])
    write_figure_inputs(tmp_path, settings)
    path = tmp_path / "evaluate/vicreg-60/e2mc/trial0/knn/distances.npy"
    np.save(path, np.zeros((5, 3), dtype=np.float32))
    with pytest.raises(E2MCError, match=r"shape \(5, 3\) where \(samples, 2\) is expected"):
        write_figure(settings, tmp_path, "figure3", [tmp_path / "f.png"])
    with pytest.raises(E2MCError, match=r"figures are \.pdf or \.png"):
        write_figure(settings, tmp_path, "figure2", [tmp_path / "f.gif"])
    assert not list(tmp_path.glob("f.*"))
