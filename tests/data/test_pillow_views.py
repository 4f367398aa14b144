"""The Pillow pipeline against the official pipelines, re-typed, fed the same random numbers."""

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from e2mc.config.experiment import Images
from e2mc.config.methods import SimSiam, SwAV, VICReg, Views
from e2mc.data.draws import TRAINING, Draws, draw, recipes, stream
from e2mc.data.pillow_views import fixed_view, pillow_view, random_views
from e2mc.vision import torchvision

T = torchvision.transforms
SIZES = Images(size=32, small_size=12, evaluation_resize=36)


class GaussianBlur:
    """moco/simsiam `GaussianBlur`; VICReg's and SwAV's decide inside instead of RandomApply."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, image: Image.Image) -> Image.Image:
        if random.random() < self.probability:
            return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))
        return image


class Solarization:
    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, image: Image.Image) -> Image.Image:
        return ImageOps.solarize(image) if random.random() < self.probability else image


def vicreg(blur: float, solarize: float) -> list[Callable]:
    """vicreg/augmentations.py, without tensor and normalisation."""
    return [
        T.RandomResizedCrop(32, interpolation=T.InterpolationMode.BICUBIC),
        T.RandomHorizontalFlip(p=0.5),
        T.RandomApply(
            [T.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)], p=0.8
        ),
        T.RandomGrayscale(p=0.2),
        GaussianBlur(blur),
        Solarization(solarize),
    ]


def swav(size: int, scale: tuple[float, float]) -> list[Callable]:
    """swav/src/multicropdataset.py."""
    return [
        T.RandomResizedCrop(size, scale=scale),
        T.RandomHorizontalFlip(p=0.5),
        T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
        T.RandomGrayscale(p=0.2),
        GaussianBlur(0.5),
    ]


def simsiam() -> list[Callable]:
    """simsiam/main_simsiam.py."""
    return [
        T.RandomResizedCrop(32, scale=(0.2, 1.0)),
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        T.RandomGrayscale(p=0.2),
        GaussianBlur(0.5),
        T.RandomHorizontalFlip(),
    ]


OFFICIAL: list[tuple[Views, int, list[Callable]]] = [
    (VICReg().views, 0, vicreg(1.0, 0.0)),
    (VICReg().views, 1, vicreg(0.1, 0.2)),
    (SwAV().views, 0, swav(32, (0.14, 1.0))),
    (SwAV().views, 5, swav(12, (0.05, 0.14))),
    (SimSiam().views, 1, simsiam()),
]


def scripted(monkeypatch: pytest.MonkeyPatch, draws: Draws, row: int, transforms: list) -> None:
    """Make every source of randomness of the official pipeline answer with our decisions."""
    flip, jitter, gray = (
        0.0 if name[row] else 0.999 for name in (draws.flip, draws.jitter, draws.gray)
    )
    by_class = {T.RandomHorizontalFlip: flip, T.RandomApply: jitter, T.RandomGrayscale: gray}
    answers: Iterator[float] = iter(
        [by_class[type(each)] for each in transforms if type(each) in by_class]
    )
    monkeypatch.setattr(torch, "rand", lambda *size: torch.tensor([next(answers)]))
    box = tuple(draws.box[row].tolist())
    monkeypatch.setattr(T.RandomResizedCrop, "get_params", lambda *_: box)
    jitters = (torch.from_numpy(draws.order[row]), *draws.factors[row].tolist())
    monkeypatch.setattr(T.ColorJitter, "get_params", lambda *_: jitters)
    decisions = iter([0.0 if each[row] else 0.9999 for each in (draws.blur, draws.solarize)])
    monkeypatch.setattr(random, "random", lambda: next(decisions))
    monkeypatch.setattr(random, "uniform", lambda low, high: float(draws.radius[row]))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    array = np.random.default_rng(2).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(array).resize((60, 45), Image.Resampling.BICUBIC)


def planes(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize(("views", "number", "transforms"), OFFICIAL)
def test_views_are_the_official_ones(
    views: Views,
    number: int,
    transforms: list,
    picture: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipes(views, SIZES)[number]
    draws = draw([recipe], stream(TRAINING, 0, 0), np.arange(60), number, 45, 60)
    assert draws.flip.any()
    assert not draws.flip.all()
    for row in range(60):
        scripted(monkeypatch, draws, row, transforms)
        expected = T.Compose(transforms)(picture)
        monkeypatch.undo()
        assert np.array_equal(pillow_view(picture, draws, row, recipe), expected), row


def test_views_of_an_image_are_those_of_its_draws(picture: Image.Image) -> None:
    chosen, key = recipes(SwAV().views, SIZES), stream(TRAINING, 7, 2)
    views = random_views(picture, 31, chosen, key, range(8))
    assert [view.shape[-1] for view in views] == [32, 32] + [12] * 6
    for number, view in enumerate(views):
        alone = draw([chosen[number]], key, [30, 31], number, 45, 60)
        assert np.array_equal(view, planes(pillow_view(picture, alone, 1, chosen[number])))


def test_fixed_views_are_torchvisions(picture: Image.Image) -> None:
    center = planes(T.Compose([T.Resize(36), T.CenterCrop(32)])(picture))
    squash = planes(T.Compose([T.Resize(36), T.Resize([32, 32])])(picture))
    assert np.array_equal(fixed_view(picture, SIZES, "center"), center)
    assert np.array_equal(fixed_view(picture, SIZES, "squash"), squash)
    assert not np.array_equal(center, squash)
