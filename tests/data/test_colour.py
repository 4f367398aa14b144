"""Batched colour operations against torchvision's, one image and one factor at a time."""

import numpy as np
import pytest
import torch
from PIL import Image

from e2mc.data.colour import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    blend_,
    gray,
    hue,
    luma,
    solarize,
)
from e2mc.vision import torchvision

functional = torchvision.transforms.functional
LEVELS = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (6, 3, 10, 8), dtype=np.uint8))
IMAGES = LEVELS.float().div(255)
FACTORS = torch.tensor([0.0, 0.2, 0.7, 1.0, 1.3, 1.8])
PICTURES = [functional.to_pil_image(image) for image in LEVELS]


def levels(picture: Image.Image) -> torch.Tensor:
    return functional.pil_to_tensor(picture).float()


def column(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("operation", "reference", "tolerance"),
    [
        (BRIGHTNESS, functional.adjust_brightness, 1e-6),
        # torchvision's tensors use luma weights that sum to 0.9999.
        (CONTRAST, functional.adjust_contrast, 3e-4),
        (SATURATION, functional.adjust_saturation, 3e-4),
    ],
)
def test_blends_are_torchvisions(operation: int, reference, tolerance: float) -> None:
    result = blend_(IMAGES.clone(), torch.full((6, 1, 1, 1), operation), column(FACTORS))
    for view, image, picture, factor in zip(
        result, IMAGES, PICTURES, FACTORS.tolist(), strict=True
    ):
        torch.testing.assert_close(view, reference(image, factor), rtol=0, atol=tolerance)
        difference = (view * 255 - levels(reference(picture, factor))).abs()
        assert difference.max() < 2.01  # Pillow truncates, and rounds the luma


def test_one_batch_may_hold_different_operations() -> None:
    operations = torch.tensor([CONTRAST, BRIGHTNESS, HUE, SATURATION, HUE, CONTRAST])
    mixed = blend_(IMAGES.clone(), column(operations), column(FACTORS))
    for index, operation in enumerate(operations):
        one = IMAGES[index : index + 1].clone()
        alone = blend_(one, operation.view(1, 1, 1, 1), column(FACTORS[index]))
        torch.testing.assert_close(mixed[index : index + 1], alone, rtol=0, atol=0)
        if operation == HUE:
            assert torch.equal(mixed[index], IMAGES[index])


def test_hue_is_torchvisions() -> None:
    turns = torch.tensor([-0.5, -0.2, -0.05, 0.0, 0.1, 0.5])
    result = hue(IMAGES, column(turns))
    for view, image, picture, turn in zip(result, IMAGES, PICTURES, turns.tolist(), strict=True):
        expected = functional.adjust_hue(image, turn)
        torch.testing.assert_close(view, expected, rtol=0, atol=2e-6)
        # Pillow's HSV has 256 steps for the circle and 256 for the saturation.
        difference = (view * 255 - levels(functional.adjust_hue(picture, turn))).abs()
        assert difference.max() < 12
        assert difference.mean() < 2


def test_hue_of_grey_and_of_ties() -> None:
    ties = torch.tensor([[0.5, 0.5, 0.5], [1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0]])
    images = ties.view(6, 3, 1, 1)
    result = hue(images, column(torch.full((6,), 0.3)))
    for view, image in zip(result, images, strict=True):
        expected = functional.adjust_hue(image, 0.3)
        torch.testing.assert_close(view, expected, rtol=0, atol=2e-6)


def test_gray_is_pillows() -> None:
    assert torch.equal(gray(IMAGES)[:, 2], luma(IMAGES)[:, 0])
    for view, picture in zip(luma(IMAGES), PICTURES, strict=True):
        assert (view * 255 - levels(picture.convert("L"))).abs().max() <= 0.502


def test_solarize_is_pillows_exactly() -> None:
    for view, picture in zip(solarize(IMAGES), PICTURES, strict=True):
        expected = levels(functional.solarize(picture, 128))
        assert torch.equal((view * 255).round(), expected)
