"""Views for frozen features."""

import numpy as np
import pytest
import torch
from PIL import Image

from e2mc.config.experiment import Images
from e2mc.data import evaluation_views as evaluation
from e2mc.data.evaluation_views import (
    View,
    consecutive,
    evaluation_batches,
    evaluation_views,
)
from e2mc.data.image_set import MultiLabelSet
from e2mc.errors import E2MCError
from e2mc.vision import torchvision

T = torchvision.transforms
SIZES = Images(size=12, small_size=8, evaluation_resize=15)
STD = (0.228, 0.224, 0.225)
NORMALISE = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), STD)]
LEVEL = 1 / 255 / 0.224


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> MultiLabelSet:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(7):
        array = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        picture = Image.fromarray(array).resize((21, 18), Image.Resampling.BICUBIC)
        picture.save(root / f"{index}.png")
    names = tuple(f"{index}.png" for index in range(7))
    return MultiLabelSet(root, names, np.ones((7, 2), np.int8), ("a", "b"))


def batches(images: MultiLabelSet, crop: str, pipeline: str, **more) -> list[torch.Tensor]:
    return list(evaluation_batches(images, SIZES, crop, STD, pipeline, 3, **more))


@pytest.mark.parametrize(
    ("crop", "steps"),
    [
        ("center", [T.Resize(15), T.CenterCrop(12)]),
        ("squash", [T.Resize(15), T.Resize([12, 12])]),
    ],
)
def test_fixed_views(images: MultiLabelSet, crop: str, steps: list) -> None:
    reference = T.Compose(steps + NORMALISE)
    expected = torch.stack([reference(Image.open(images.path(i))) for i in range(7)])
    pillow = batches(images, crop, "pillow")
    assert [len(batch) for batch in pillow] == [3, 3, 1]
    assert torch.equal(torch.cat(pillow), expected)
    tensor = torch.cat(batches(images, crop, "tensor"))
    assert (tensor - expected).abs().max() < 2.1 * LEVEL
    assert (tensor - expected).abs().mean() < 0.5 * LEVEL


@pytest.mark.parametrize("pipeline", ["pillow", "tensor"])
def test_random_views(images: MultiLabelSet, pipeline: str) -> None:
    def views(**more) -> torch.Tensor:
        return torch.cat(batches(images, "random", pipeline, **more))

    plain = views(view=2)
    assert torch.equal(plain, views(view=2))
    for other in (views(view=3), views(view=2, seed=1)):
        assert not torch.equal(plain, other)
    torch.testing.assert_close(views(view=2, first=2, last=6), plain[2:6], rtol=0, atol=1e-5)
    assert torch.equal(views(flip_probability=1.0), views(flip_probability=0.0).flip(3))
    torch.testing.assert_close(
        plain, torch.cat(batches(images, "random", "tensor", view=2)), rtol=0, atol=2.1 * LEVEL
    )


@pytest.mark.parametrize(
    ("pipeline", "workers"), [("pillow", 0), ("pillow", 2), ("fast", 0), ("tensor", 0)]
)
def test_all_views_from_one_pass_are_those_of_a_pass_each(
    images: MultiLabelSet, pipeline: str, workers: int
) -> None:
    """To the bit, though batches are of more views than images and of different sizes."""
    seen = [View("random", 3), View("center"), View("random", 0), View("squash"), View("random", 1)]
    batches = [np.array([0, 1, 2]), np.array([3]), np.arange(6, -1, -1)]
    stream = evaluation_views(images, SIZES, seen, STD, pipeline, batches, seed=4, workers=workers)
    for batch in batches:
        for view in seen:
            alone = evaluation_views(images, SIZES, [view], STD, pipeline, [batch], seed=4)
            assert torch.equal(next(stream), next(alone))
    assert next(stream, None) is None


@pytest.mark.parametrize("pipeline", ["pillow", "fast"])
def test_each_image_is_decoded_once(
    images: MultiLabelSet, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    for name in ("decode", "decode_levels"):
        read = getattr(evaluation, name)
        monkeypatch.setattr(
            evaluation, name, lambda path, read=read: decoded.append(path.name) or read(path)
        )
    views = [*(View("random", number) for number in range(10)), View("center")]
    batches = consecutive(0, 7, 3)
    made = list(evaluation_views(images, SIZES, views, STD, pipeline, batches))
    assert len(made) == 3 * 11
    assert decoded == [f"{index}.png" for index in range(7)]


@pytest.mark.parametrize("crop", ["random", "center", "squash"])
def test_fast_views_are_pillows_to_two_levels(images: MultiLabelSet, crop: str) -> None:
    pillow, fast = (torch.cat(batches(images, crop, each)) for each in ("pillow", "fast"))
    assert (pillow - fast).abs().max() < 2.1 * LEVEL
    assert (pillow - fast).abs().mean() < 0.3 * LEVEL


def test_workers_change_nothing(images: MultiLabelSet) -> None:
    for crop in ("random", "center"):
        alone = torch.cat(batches(images, crop, "pillow"))
        assert torch.equal(alone, torch.cat(batches(images, crop, "pillow", workers=2)))


def test_nothing_left_is_no_batch(images: MultiLabelSet) -> None:
    assert batches(images, "center", "pillow", first=7) == []


def test_centre_crop_larger_than_the_image(images: MultiLabelSet) -> None:
    sizes = Images(size=16, small_size=8, evaluation_resize=15)
    with pytest.raises(E2MCError, match=r"evaluation_resize \(15\) is smaller"):
        next(evaluation_batches(images, sizes, "center", STD, "tensor", 3))
