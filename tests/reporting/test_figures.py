from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray
from pypdf import PdfReader
from scipy.stats import kstest

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.figures import DRAWERS, write_figure
from e2mc.reporting.marginals import _unit_cube, colours_of, random_pairs, spread
from e2mc.reporting.separability import overlap
from tests.reporting.synthetic_results import experiment, write_figure_inputs


@pytest.fixture(scope="module")
def settings() -> Experiment:
    bases = {"vicreg-60": {"method": "vicreg", "epochs": 60}}
    figures = {"figure4": {"bases": ["vicreg-60"], "epochs": 30, "every": 5, "trials": 2}}
    return experiment(bases=bases, tables={}, trials=2, figures=figures)


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
    return DRAWERS[figure](settings, results, needs.figure_inputs(settings, figure))


def cube(results: Path, criterion: str) -> NDArray[np.float64]:
    """The sigmoid of the embeddings of VICReg, written out."""
    path = results / f"features/vicreg-60/{criterion}/trial0/embeddings.npy"
    return 1 / (1 + np.exp(-np.load(path).astype(np.float64)))


def test_figure2_shows_what_minimises_the_loss_and_a_pair_before_and_after(
    settings: Experiment, results: Path
) -> None:
    planes = drawn(settings, results, "figure2").axes
    assert len(planes) == 4
    points = [np.asarray(plane.collections[0].get_offsets()) for plane in planes]
    uniform, crossed, before, after = points
    x, y = random_pairs(8)[0]
    assert before == pytest.approx(cube(results, "base")[:, [x, y]])
    assert after == pytest.approx(cube(results, "e2mc")[:, [x, y]])
    on_a_diagonal = np.isclose(crossed[:, 0], crossed[:, 1]), np.isclose(crossed.sum(axis=1), 1)
    assert (on_a_diagonal[0] | on_a_diagonal[1]).all()
    assert min(map(np.mean, on_a_diagonal)) > 0.45
    for analytic in (uniform, crossed):  # both: uniform marginals, no correlation
        assert kstest(analytic[:, 0], "uniform").pvalue > 0.01
        assert kstest(analytic[:, 1], "uniform").pvalue > 0.01
        assert abs(np.corrcoef(analytic.T)[0, 1]) < 0.06
    assert abs(np.corrcoef(abs(uniform - 0.5).T)[0, 1]) < 0.06
    colours = [plane.collections[0].get_facecolor()[:, :3] for plane in planes[2:]]
    assert np.array_equal(*colours)
    assert colours[0] == pytest.approx(colours_of(before))
    for plane, shown in zip(planes, points, strict=True):
        top, side = plane.child_axes
        edges = np.linspace(0, 1, 26)
        heights = [patch.get_height() for patch in top.patches]
        assert heights == np.histogram(shown[:, 0], edges)[0].tolist()
        widths = [patch.get_width() for patch in side.patches]
        assert widths == np.histogram(shown[:, 1], edges)[0].tolist()


def test_figure_d1_shows_pairs_before_and_after(settings: Experiment, results: Path) -> None:
    panels = drawn(settings, results, "figure_d1").axes
    pairs = random_pairs(8)
    assert len(panels) == 2 * len(pairs) == 8
    for number, (x, y) in enumerate(pairs):
        left, right = (panel.collections[0] for panel in panels[2 * number : 2 * number + 2])
        for points, criterion in ((left, "base"), (right, "e2mc")):
            expected = cube(results, criterion)[:, [x, y]]
            assert np.asarray(points.get_offsets()) == pytest.approx(expected)
        assert np.array_equal(left.get_facecolor(), right.get_facecolor())


def test_pairs_are_random_and_share_no_dimension() -> None:
    pairs = random_pairs(8192)
    assert len(pairs) == 10
    assert len({dimension for pair in pairs for dimension in pair}) == 20
    assert pairs == random_pairs(8192)
    assert sorted(random_pairs(2)[0]) == [0, 1]


def test_points_come_from_all_images() -> None:
    """Fifty images of each of 1,000 classes, sorted by class."""
    classes = np.bincount(spread(50_000) // 50, minlength=1000)
    assert classes.tolist() == 1000 * [2]
    assert len(set(spread(50_000) % 50)) == 50
    assert spread(600).tolist() == list(range(600))


def test_colours_follow_the_place() -> None:
    corners = np.array([[0.4, 0.4], [0.6, 0.4], [0.4, 0.6], [0.6, 0.6]])
    colours = colours_of(corners)
    assert len({tuple(colour) for colour in colours.round(3)}) == 4
    grey = colours @ [0.299, 0.587, 0.114]
    assert grey[:2].max() < grey[2:].min()
    rng = np.random.default_rng(0)
    points = rng.random((50, 2))
    assert colours_of(points) == pytest.approx(colours_of(points**3))  # ranks alone
    assert colours_of(points).min() >= 0 and colours_of(points).max() <= 1


def test_figure3_overlays_the_ranks_of_each_model(settings: Experiment, results: Path) -> None:
    panels = drawn(settings, results, "figure3").axes
    assert len(panels) == 2
    for panel, criterion in zip(panels, ("base", "e2mc"), strict=True):
        path = results / f"evaluate/vicreg-60/{criterion}/trial0/knn/distances.npy"
        distances = np.load(path).astype(np.float64)
        edges = np.linspace(distances.min(), distances.max(), 51)
        counts = [np.histogram(values, edges)[0] for values in distances.T]
        for outline, expected in zip(panel.patches[::2], counts, strict=True):
            corners = outline.get_xy()
            assert sorted(set(corners[:, 1])) == sorted({0, *expected.tolist()})
        common = 100 * np.minimum(*counts).sum() / len(distances)
        assert panel.get_title().endswith(f": {common:.0f} % overlap")
        assert ("+ E" in panel.get_title()) == (criterion == "e2mc")
    labels = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert labels == ["nearest neighbour", "neighbour of rank 100"]
    lines = {patch.get_linestyle() for patch in panels[0].patches[1::2]}
    assert len(lines) == 2  # told apart without colour


def test_overlap() -> None:
    same = np.linspace(0, 1, 1000)
    assert overlap(same, same) == 1
    assert overlap(same, same + 2) == 0
    assert overlap(same, same + 0.5) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("ranks", [(1,), (1, 10, 100), (1, 2, 5, 10, 100)])
def test_figure3_takes_any_ranks(tmp_path: Path, ranks: tuple[int, ...]) -> None:
    bases = {"vicreg-60": {"method": "vicreg", "epochs": 60}}
    evaluation = {"knn": {"distance_ranks": list(ranks)}}
    settings = experiment(bases=bases, tables={}, evaluation=evaluation)
    write_figure_inputs(tmp_path, settings)
    for criterion in ("base", "e2mc"):
        path = tmp_path / f"evaluate/vicreg-60/{criterion}/trial0/knn/distances.npy"
        np.save(path, np.random.default_rng(0).random((50, len(ranks))))
    panels = drawn(settings, tmp_path, "figure3").axes
    assert [len(panel.patches) for panel in panels] == 2 * [2 * len(ranks)]


def test_figure4_shows_both_arms_from_the_base_on(settings: Experiment, results: Path) -> None:
    (panel,) = drawn(settings, results, "figure4").axes
    assert panel.get_title() == "VICReg-60"
    assert panel.get_xlabel() == "epoch of continued pre-training"
    for line, band, arm in zip(panel.lines, panel.collections, ("continued", "e2mc"), strict=False):
        files = [
            results / f"evaluate/vicreg-60/{arm}/trial{trial}/snapshots/history.csv"
            for trial in range(2)
        ]
        trials = np.stack([np.loadtxt(f, delimiter=",", skiprows=1)[:, 1] for f in files])
        assert line.get_xdata().tolist() == [0, 5, 10, 15, 20, 25, 30]
        assert line.get_ydata() == pytest.approx(trials.mean(axis=0))
        edge = band.get_paths()[0].vertices
        heights = edge[edge[:, 0] == 30][:, 1]
        assert np.ptp(heights) == pytest.approx(abs(trials[0, -1] - trials[1, -1]))
    assert panel.lines[0].get_linestyle() != panel.lines[1].get_linestyle()
    assert list(panel.lines[2].get_xdata()) == [10, 10]  # where the tables' models are
    assert settings.figures.figure4 is not None
    single = settings.figures.figure4.model_copy(update={"trials": 1})
    figures = settings.figures.model_copy(update={"figure4": single})
    one = settings.model_copy(update={"figures": figures})
    (panel,) = drawn(one, results, "figure4").axes
    assert not panel.collections


def test_probe_epochs_show_mean_and_standard_error(settings: Experiment, results: Path) -> None:
    panels = drawn(settings, results, "figure_probe_epochs").axes
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
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array([[0.0, 1.0, -40.0]], dtype=np.float32))
        cube = _unit_cube(both, tmp_path, Cell(base, "e2mc", 0, "embeddings"))
        assert cube[0] == pytest.approx([0.5, expected, 0.0], abs=1e-6)


def test_missing_and_foreign_inputs(settings: Experiment, tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=r"linear-1/history\.csv does not exist"):
        write_figure(settings, tmp_path, "figure_probe_epochs", [tmp_path / "f.png"])
    write_figure_inputs(tmp_path, settings)
    path = tmp_path / "evaluate/vicreg-60/e2mc/trial0/knn/distances.npy"
    np.save(path, np.zeros((5, 3), dtype=np.float32))
    with pytest.raises(E2MCError, match=r"shape \(5, 3\) where \(samples, 2\) is expected"):
        write_figure(settings, tmp_path, "figure3", [tmp_path / "f.png"])
    with pytest.raises(E2MCError, match=r"figures are \.pdf or \.png"):
        write_figure(settings, tmp_path, "figure2", [tmp_path / "f.gif"])
    assert not list(tmp_path.glob("f.*"))
    with pytest.raises(E2MCError, match=r"figure4 needs figures\.figure4"):
        write_figure(experiment(), tmp_path, "figure4", [tmp_path / "f.png"])
