"""Crops and blurs as matrices, against Pillow's own filters."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from e2mc.data.resampling import Interpolation, blur, resample, resampling

RNG = np.random.default_rng(0)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
BOXES = [(0, 0, 20, 17), (3, 2, 6, 5), (5, 1, 1, 1), (0, 3, 20, 9), (11, 10, 9, 7)]


def resized(image: torch.Tensor, size: int, interpolation: Interpolation) -> torch.Tensor:
    top, left, height, width = torch.tensor(BOXES, dtype=torch.float32).T
    rows = resampling(top, height, 20, size, interpolation)
    columns = resampling(left, width, 17, size, interpolation)
    images = image.permute(1, 0, 2).expand(len(BOXES), 20, 3, 17)
    return resample(images, rows, columns)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [4, 8, 24])
def test_crop_and_resize_is_pillows_in_float(interpolation: Interpolation, size: int) -> None:
    """Pillow's 32-bit mode does not round, so the two agree to float precision."""
    image = RNG.uniform(0.4, 0.6, (3, 20, 17)).astype(np.float32)
    views = resized(torch.from_numpy(image), size, interpolation)
    for view, (top, left, height, width) in zip(views, BOXES, strict=True):
        for channel, plane in zip(view, image, strict=True):
            crop = Image.fromarray(plane[top : top + height, left : left + width])
            expected = crop.resize((size, size), FILTERS[interpolation])
            np.testing.assert_allclose(channel, np.asarray(expected), rtol=0, atol=2e-6)


def test_bicubic_overshoot_is_clipped() -> None:
    checkers = torch.from_numpy(np.indices((20, 17)).sum(axis=0) % 4 // 2).float().expand(3, 20, 17)
    views = resized(checkers, 24, "bicubic")
    assert views.min() == 0
    assert views.max() == 1


def test_whole_crop_of_the_same_size_is_the_identity() -> None:
    weights = resampling(torch.zeros(1), torch.full((1,), 9.0), 9, 9, "bilinear")
    torch.testing.assert_close(weights[0], torch.eye(9), rtol=0, atol=0)


def test_mirrored_weights_are_reversed() -> None:
    start, length = torch.tensor([2.0, 0.0]), torch.tensor([5.0, 7.0])
    plain = resampling(start, length, 9, 4, "bicubic")
    mixed = resampling(start, length, 9, 4, "bicubic", torch.tensor([True, False]))
    torch.testing.assert_close(mixed, torch.stack([plain[0].flip(0), plain[1]]))


@pytest.mark.parametrize("size", [5, 12, 40])
def test_blur_is_pillows_up_to_its_rounding(size: int) -> None:
    """Pillow rounds after each of its six passes: by half a level each, and without bias."""
    array = RNG.integers(0, 256, (3, size, size), dtype=np.uint8)
    radii = [0.1, 0.5, 0.9, 1.3, 2.0, 4.0]
    images = torch.from_numpy(array).float().div(255).expand(len(radii), 3, size, size)
    blurred = blur(images, torch.tensor(radii).view(-1, 1, 1, 1), largest=4.0)
    picture = Image.fromarray(array.transpose(1, 2, 0))
    for radius, view in zip(radii, blurred, strict=True):
        expected = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))
        difference = view.mul(255).numpy().transpose(1, 2, 0) - expected
        assert np.abs(difference).max() <= 3
        assert abs(difference.mean()) < 4 / size


def test_blur_has_the_variance_of_its_radius() -> None:
    point = torch.zeros(1, 3, 81, 81)
    point[:, :, 40, 40] = 1
    spread = blur(point, torch.full((1, 1, 1, 1), 2.0), largest=2.0)[0, 0].sum(0)
    position = torch.arange(81.0) - 40
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    assert (spread * position.square()).sum().item() == pytest.approx(4, rel=1e-4)
