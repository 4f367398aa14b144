"""Random decisions: addressed by counter, and distributed as torchvision's."""

import numpy as np
import pytest
import torch
from scipy import stats

from e2mc.config.experiment import Images
from e2mc.config.methods import SwAV, VICReg, Views
from e2mc.data.draws import TRAINING, Recipe, draw, hashed, recipes, stream
from e2mc.errors import E2MCError
from e2mc.vision import torchvision

KEY = stream(TRAINING, 3, 5)
FULL = Recipe(
    size=12,
    jitter=(0.4, 0.4, 0.2, 0.1),
    jitter_probability=0.8,
    gray_probability=0.2,
    blur_probability=0.5,
    solarize_probability=0.1,
)


def test_hash_is_splitmix64() -> None:
    """First outputs of the published generator for seed 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert hashed(np.uint64(1234567), [1, 2, 3]).tolist() == published


def test_a_draw_depends_on_sample_and_view_only() -> None:
    samples = np.arange(40)
    whole = draw([FULL], KEY, samples, 1, 30, 20)
    part = draw([FULL], KEY, samples[::-3], 1, 30, 20)
    per_image = draw([Recipe(size=8), FULL], KEY, 7, [0, 1], 30, 20)
    for name in whole._fields:
        np.testing.assert_array_equal(getattr(whole, name)[::-3], getattr(part, name))
        np.testing.assert_array_equal(getattr(whole, name)[7], getattr(per_image, name)[1])


@pytest.mark.parametrize(
    ("key", "view"), [(stream(TRAINING, 3, 6), 1), (stream(TRAINING, 4, 5), 1), (KEY, 2)]
)
def test_another_seed_epoch_or_view_is_another_draw(key: np.uint64, view: int) -> None:
    samples = np.arange(2000)
    one, other = draw([FULL], KEY, samples, 1, 30, 20), draw([FULL], key, samples, view, 30, 20)
    assert abs(np.corrcoef(one.radius, other.radius)[0, 1]) < 0.1
    assert (one.box == other.box).all(axis=1).mean() < 0.05


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(300, 200, (0.08, 1.0)), (14, 14, (0.05, 0.14)), (10, 60, (0.9, 1.0))],
)
def test_boxes_are_distributed_as_torchvisions(
    height: int, width: int, scale: tuple[float, float]
) -> None:
    boxes = draw([Recipe(size=8, scale=scale)], KEY, np.arange(4000), 0, height, width).box
    image = torch.empty(3, height, width)
    torch.manual_seed(0)
    crop = torchvision.transforms.RandomResizedCrop
    reference = np.array([crop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(4000)])
    for column in range(4):
        ours, theirs = boxes[:, column], reference[:, column]
        assert ours.min() >= 0
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    assert (boxes[:, 0] + boxes[:, 2]).max() <= height
    assert (boxes[:, 1] + boxes[:, 3]).max() <= width


def test_decisions_have_their_probabilities_and_ranges() -> None:
    n = 20000
    draws = draw([FULL], KEY, np.arange(n), 0, 30, 20)
    for name, probability in (
        ("flip", 0.5),
        ("jitter", 0.8),
        ("gray", 0.2),
        ("blur", 0.5),
        ("solarize", 0.1),
    ):
        assert stats.binomtest(int(getattr(draws, name).sum()), n, probability).pvalue > 1e-3
    ranges = [(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]
    for column, (low, high) in zip(draws.factors.T, ranges, strict=True):
        assert stats.kstest(column, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert stats.kstest(draws.radius, stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3
    _, counts = np.unique(draws.order @ [1000, 100, 10, 1], return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_recipes_follow_the_methods() -> None:
    sizes = Images(size=224, small_size=96)
    first, second = recipes(VICReg().views, sizes)
    assert (first.blur_probability, second.blur_probability) == (1.0, 0.1)
    assert (first.solarize_probability, second.solarize_probability) == (0.0, 0.2)
    crops = recipes(SwAV().views, sizes)
    assert [crop.size for crop in crops] == [224] * 2 + [96] * 6
    assert crops[2].scale == (0.05, 0.14)
    assert crops[2].blur_probability == 0.5
    with pytest.raises(E2MCError, match="blur_probability: give one value, or one for each"):
        recipes(Views(blur_probability=(0.1, 0.2, 0.3)), sizes)
