"""Fast and device views against the Pillow pipeline: each operation, then whole views."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from e2mc.config.experiment import Images
from e2mc.config.methods import SimSiam, SwAV, VICReg, Views
from e2mc.data.colour import BRIGHTNESS, CONTRAST, HUE, SATURATION
from e2mc.data.device_views import colour, crops, fixed_crop
from e2mc.data.draws import TRAINING, Recipe, draw, recipes, stream
from e2mc.data.pillow_views import MODES, fixed_view, pillow_view, random_views
from e2mc.data.resampling import Interpolation, resized
from e2mc.vision import torchvision

pytest.importorskip("cv2")

from e2mc.data.fast_views import adjusted, blurred, box_kernel, fast_view, fast_views, gray

functional = torchvision.transforms.functional
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(NOISE[:9, :9]).resize((64, 64), Image.Resampling.BICUBIC))
SIZES = Images(size=48, small_size=20, evaluation_resize=56)
KEY = stream(TRAINING, 4, 1)
FACTORS = [0.0, 0.2, 0.6, 0.97, 1.0, 1.03, 1.4, 1.8]
BOXES = [(0, 0, 64, 64), (3, 2, 20, 31), (5, 1, 1, 1), (0, 0, 64, 2), (1, 1, 7, 50), (0, 0, 1, 64)]
METHODS = [VICReg().views, SwAV().views, SimSiam().views]


def difference(levels: np.ndarray, image: Image.Image) -> np.ndarray:
    return np.abs(levels.astype(int) - np.asarray(image))


@pytest.mark.parametrize("picture", [NOISE, SMOOTH])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_are_pillows_to_one_level(picture: np.ndarray, interpolation: Interpolation) -> None:
    """Of noise a bicubic filter overshoots, and the two clip at different places."""
    found = []
    for top, left, height, width in BOXES:
        crop = Image.fromarray(picture).crop((left, top, left + width, top + height))
        part = picture[top : top + height, left : left + width]
        for size in (4, 24, 64, 90):
            expected = functional.resize(crop, [size, size], MODES[interpolation])
            found.append(difference(resized(part, size, size, interpolation), expected).ravel())
    errors = np.concatenate(found)
    assert errors.mean() < 0.02
    assert (errors > 1).mean() < (1e-3 if interpolation == "bicubic" else 1e-9)


@pytest.mark.parametrize("picture", [NOISE, SMOOTH])
@pytest.mark.parametrize(
    ("operation", "reference", "share"),
    [
        (BRIGHTNESS, functional.adjust_brightness, 0.0),
        (CONTRAST, functional.adjust_contrast, 0.01),
        (SATURATION, functional.adjust_saturation, 0.5),  # Pillow rounds the luma first
    ],
)
def test_blends_are_pillows_to_one_level(picture, operation, reference, share) -> None:
    for factor in FACTORS:
        errors = difference(
            adjusted(picture, operation, factor), reference(Image.fromarray(picture), factor)
        )
        assert errors.max() <= 1
        assert (errors > 0).mean() <= share


@pytest.mark.parametrize("turns", [-0.5, -0.2, -0.05, 0.0, 0.003, 0.1, 0.5])
@pytest.mark.parametrize("picture", [NOISE, SMOOTH])
def test_hue_is_pillows_within_its_own_steps(picture: np.ndarray, turns: float) -> None:
    """Both have 256 steps of hue and saturation; Pillow truncates to them, OpenCV rounds."""
    expected = functional.adjust_hue(Image.fromarray(picture), turns)
    errors = difference(adjusted(picture, HUE, turns), expected)
    assert errors.mean() < 1.5
    assert errors.max() <= 12


def test_gray_is_pillows() -> None:
    errors = difference(gray(NOISE), Image.fromarray(NOISE).convert("L"))
    assert errors.max() <= 1
    assert (errors > 0).mean() < 0.01


@pytest.mark.parametrize("radius", [0.1, 0.3, 0.5, 0.9, 1.3, 2.0])
@pytest.mark.parametrize("picture", [NOISE, SMOOTH])
def test_blur_is_pillows_up_to_its_rounding(picture: np.ndarray, radius: float) -> None:
    """But at the border, which Pillow continues before each of three passes and OpenCV once."""
    blur = ImageFilter.GaussianBlur(radius)
    for levels, image in (
        (picture, Image.fromarray(picture)),
        (gray(picture), Image.fromarray(picture).convert("L")),
    ):
        errors = difference(blurred(levels, radius), image.filter(blur))
        assert errors[6:-6, 6:-6].max() <= 3
        assert errors.mean() < 1.1
    flat = np.full((40, 40, 3), 201, np.uint8)
    assert (blurred(flat, radius) == 201).all()


def test_the_kernel_has_the_variance_of_its_radius() -> None:
    for radius in (0.1, 0.7, 2.0):
        kernel = box_kernel(radius)
        position = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum() == pytest.approx(1)
        assert (kernel * position**2).sum() == pytest.approx(radius**2)


def test_flip_gray_and_solarize_are_exact() -> None:
    recipe = Recipe(size=64, gray_probability=0.5, solarize_probability=0.5)
    draws = draw([recipe], KEY, np.arange(40), 0, 64, 64)
    draws = draws._replace(box=np.tile([0, 0, 64, 64], (40, 1)))
    for row in range(40):
        view = fast_view(SMOOTH, draws, row, recipe).transpose(1, 2, 0)
        errors = difference(view, pillow_view(Image.fromarray(SMOOTH), draws, row, recipe))
        assert errors.max() <= draws.gray[row]
    inverted = ImageOps.solarize(Image.fromarray(SMOOTH))
    plain = draws._replace(solarize=np.ones(40, bool), gray=np.zeros(40, bool))
    row = int(np.flatnonzero(~draws.flip)[0])
    view = fast_view(SMOOTH, plain, row, recipe).transpose(1, 2, 0)
    assert np.array_equal(view, inverted)


@pytest.mark.parametrize("views", METHODS)
def test_whole_views_are_pillows(views: Views) -> None:
    """Images of several sizes; a solarised pixel at the threshold may fall on either side."""
    chosen = recipes(views, SIZES)
    means = []
    for index in range(24):
        side = 30 + 5 * (index % 7)
        picture = np.asarray(
            Image.fromarray(SMOOTH).resize((side + 9, side), Image.Resampling.BICUBIC)
        )
        numbers = range(len(chosen))
        expected = random_views(Image.fromarray(picture), index, chosen, KEY, numbers)
        made = fast_views(picture, index, chosen, KEY, numbers)
        for one, other in zip(made, expected, strict=True):
            assert one.shape == other.shape
            means.append(np.abs(one.astype(int) - other).mean())
    assert np.median(means) < 1
    assert max(means) < 4


@pytest.mark.parametrize("views", METHODS)
def test_halves_of_device_views_make_pillows(views: Views) -> None:
    """The device never rounds, so it differs from Pillow as the tensor pipeline does."""
    views = views.model_copy(update={"jitter": (*views.jitter[:3], 0.0)})
    chosen, numbers = recipes(views, SIZES), range(2 + views.small_views)
    pictures = [
        np.asarray(Image.fromarray(SMOOTH).resize((30 + 3 * at, 64 - 2 * at))) for at in range(12)
    ]
    indices = np.arange(12) + 5
    cut = [crops(p, i, chosen, KEY, numbers) for p, i in zip(pictures, indices, strict=True)]
    stacks = [torch.from_numpy(np.stack(view)) for view in zip(*cut, strict=True)]
    made = colour(stacks, indices, chosen, KEY, numbers)
    for row, (picture, index) in enumerate(zip(pictures, indices, strict=True)):
        expected = random_views(Image.fromarray(picture), index, chosen, KEY, numbers)
        for view, other in zip(made, expected, strict=True):
            errors = (view[row] * 255 - torch.from_numpy(other.copy())).abs()
            assert errors.mean() < 6
    assert all(view.dtype == torch.float32 for view in made)


@pytest.mark.parametrize("crop", ["center", "squash"])
def test_fixed_crops_are_pillows_to_two_levels(crop) -> None:
    for height, width in ((64, 91), (70, 50), (56, 56), (30, 300)):
        picture = np.asarray(
            Image.fromarray(NOISE).resize((width, height), Image.Resampling.BICUBIC)
        )
        expected = fixed_view(Image.fromarray(picture), SIZES, crop)
        made = fixed_crop(picture, SIZES, crop)
        assert made.shape == expected.shape
        errors = np.abs(made.astype(int) - expected)
        assert errors.max() <= (1 if crop == "center" else 2)
        assert errors.mean() < 0.3


def test_without_opencv_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['cv2'] = None\n"
        "from e2mc.errors import E2MCError\n"
        "import e2mc.data.device_views\n"
        "try:\n    import e2mc.data.fast_views\n"
        "except E2MCError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'pip install "e2mc[fast]"' in said.stdout, said.stderr
