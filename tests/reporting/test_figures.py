from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray
from pypdf import PdfReader

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.figures import _DRAWERS, _pairs, _unit_cube, write_figure
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
def test_figures_are_always_the_same(
    figure: str, settings: Experiment, results: Path, tmp_path: Path
) -> None:
    first, second = ([tmp_path / f"{n}.{kind}" for kind in ("png", "pdf")] for n in "ab")
    write_figure(settings, results, figure, first)
    write_figure(settings, results, figure, second)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert imread(first[0]).shape[1] > 800
    text = PdfReader(first[1]).pages[0].extract_text()
    assert "VICReg-60" in text and "MC" in text


def drawn(settings: Experiment, results: Path, figure: str) -> Figure:
    return _DRAWERS[figure](settings, results, needs.figure_inputs(settings, figure))


def cube(results: Path, criterion: str) -> NDArray[np.float64]:
    """The sigmoid of the embeddings of VICReg, written out."""
    path = results / f"features/vicreg-60/{criterion}/trial0/embeddings.npy"
    return 1 / (1 + np.exp(-np.load(path).astype(np.float64)))


def test_figure2_shows_two_dimensions_and_their_marginals(
    settings: Experiment, results: Path
) -> None:
    planes = drawn(settings, results, "figure2").axes
    for plane, criterion in zip(planes, ("base", "e2mc"), strict=True):
        x, y = cube(results, criterion)[:, :2].T
        (points,) = plane.collections
        assert np.asarray(points.get_offsets()) == pytest.approx(np.stack([x, y], axis=1))
        top, side = plane.child_axes
        edges = np.linspace(0, 1, 26)
        heights = [patch.get_height() for patch in top.patches]
        assert heights == np.histogram(x, edges)[0].tolist()
        widths = [patch.get_width() for patch in side.patches]
        assert widths == np.histogram(y, edges)[0].tolist()
        assert ("+ E" in top.get_title()) == (criterion == "e2mc")


def test_figure_d1_shows_three_pairs_before_and_after(settings: Experiment, results: Path) -> None:
    panels = drawn(settings, results, "figure_d1").axes
    assert len(panels) == 6
    # of eight dimensions, evenly spread by position: 0, 2, 4 with the next of each
    for panel, criterion, first in zip(
        panels, 3 * ["base"] + 3 * ["e2mc"], 2 * [0, 2, 4], strict=True
    ):
        (points,) = panel.collections
        expected = cube(results, criterion)[:, first : first + 2]
        assert np.asarray(points.get_offsets()) == pytest.approx(expected)


def test_figure3_shows_how_often_which_distance_is(settings: Experiment, results: Path) -> None:
    panels = drawn(settings, results, "figure3").axes
    assert len(panels) == len(settings.evaluation.knn.distance_ranks)
    for column, panel in enumerate(panels):
        distances = {
            criterion: np.load(results / f"evaluate/vicreg-60/{criterion}/trial0/knn/distances.npy")
            for criterion in ("base", "e2mc")
        }
        both = np.concatenate([values[:, column] for values in distances.values()])
        edges = np.linspace(both.min(), both.max(), 51)
        for outline, values in zip(panel.patches, distances.values(), strict=True):
            counts, _ = np.histogram(values[:, column].astype(np.float64), edges)
            corners = outline.get_xy()
            assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx(edges[[0, -1]])
            assert sorted(set(corners[:, 1])) == sorted({0, *counts.tolist()})
    labels = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert labels == ["base", "+ E$^2$MC"]


def test_figure4_shows_mean_and_standard_error_by_epoch(
    settings: Experiment, results: Path
) -> None:
    panels = drawn(settings, results, "figure4").axes
    for panel, share in zip(panels, (1, 10, 100), strict=True):
        assert panel.get_title() == f"VICReg-60: {share} % of the labels"
        arms = ("base", "continued", "e2mc")
        for line, band, arm in zip(panel.lines, panel.collections, arms, strict=True):
            files = [
                results / f"evaluate/vicreg-60/{arm}/trial{trial}/linear-{share}/history.csv"
                for trial in range(2)
            ]
            trials = np.stack([np.loadtxt(f, delimiter=",", skiprows=1)[:, 1] for f in files])
            mean = trials.mean(axis=0)
            error = abs(trials[0] - trials[1]) / 2  # of two values, ddof 1
            assert line.get_xdata().tolist() == list(range(1, 21))
            assert line.get_ydata() == pytest.approx(mean)
            edge = band.get_paths()[0].vertices
            for number in range(20):
                heights = edge[edge[:, 0] == number + 1][:, 1]
                assert heights.min() == pytest.approx(mean[number] - error[number])
                assert heights.max() == pytest.approx(mean[number] + error[number])


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
