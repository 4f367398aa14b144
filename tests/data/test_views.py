"""Training views: what a training loop relies on, for both pipelines."""

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from e2mc.config.experiment import Images
from e2mc.config.methods import SimSiam, SwAV, VICReg, Views
from e2mc.data.image_set import ImageSet
from e2mc.data.views import TrainingViews, normalised
from e2mc.errors import E2MCError
from e2mc.vision import torchvision

SIZES = Images(size=12, small_size=8, evaluation_resize=14)
CPU = torch.device("cpu")
PIPELINES = [
    "pillow",
    "device",
    "tensor",
    pytest.param(
        "fast", marks=pytest.mark.skipif(not find_spec("cv2"), reason="OpenCV is not installed")
    ),
]
PLAIN = Views(
    scale=(1, 1),
    flip_probability=0,
    jitter_probability=0,
    gray_probability=0,
    blur_probability=(0,),
)
Step = tuple[list[torch.Tensor], torch.Tensor]


@pytest.fixture(scope="module")
def image_set(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    names = []
    for index in range(22):
        array = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        image = Image.fromarray(array).resize((14, 16), Image.Resampling.BICUBIC)
        names.append(f"{index:02d}.png")
        image.save(root / names[-1])
    labels = np.arange(22) % 3
    return ImageSet(root, tuple(names), labels, ("a", "b", "c"))


def epoch(
    image_set: ImageSet, views: Views, pipeline: str, number: int = 0, first: int = 0, **more
) -> list[Step]:
    recipe = views.model_copy(update={"pipeline": pipeline})
    given = {"batch_size": 8, "seed": 5, "workers": 0, "device": CPU} | more
    return list(TrainingViews(image_set, recipe, SIZES, **given).epoch(number, first))


def assert_same(one: list[Step], other: list[Step]) -> None:
    for (views, labels), (others, other_labels) in zip(one, other, strict=True):
        assert torch.equal(labels, other_labels)
        assert all(torch.equal(a, b) for a, b in zip(views, others, strict=True))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_shapes_and_labels(image_set: ImageSet, pipeline: str) -> None:
    steps = epoch(image_set, SwAV().views, pipeline)
    assert [len(labels) for _, labels in steps] == [8, 8, 6]
    for views, labels in steps:
        assert [tuple(view.shape[1:]) for view in views] == [(3, 12, 12)] * 2 + [(3, 8, 8)] * 6
        assert all(view.dtype == torch.float32 and len(view) == len(labels) for view in views)
    labels = torch.cat([labels for _, labels in steps])
    assert sorted(labels.tolist()) == sorted(image_set.labels.tolist())


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_an_epoch_is_a_function_of_seed_and_number(image_set: ImageSet, pipeline: str) -> None:
    """Whatever was drawn before from any generator, and at whichever step it is entered."""
    views = SimSiam().views
    whole = epoch(image_set, views, pipeline, 3)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state()
    again = epoch(image_set, views, pipeline, 3)
    assert_same(whole, again)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same(whole[2:], epoch(image_set, views, pipeline, 3, first=2))
    other = epoch(image_set, views, pipeline, 4)
    assert not torch.equal(whole[0][0][0], other[0][0][0])


@pytest.mark.parametrize("pipeline", [each for each in PIPELINES if each != "tensor"])
def test_workers_change_nothing(image_set: ImageSet, pipeline: str) -> None:
    alone = epoch(image_set, VICReg().views, pipeline)
    assert_same(alone, epoch(image_set, VICReg().views, pipeline, workers=2))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_ranks_share_the_views_of_one_process(image_set: ImageSet, pipeline: str) -> None:
    views = VICReg().views
    alone = epoch(image_set, views, pipeline)
    ranks = [epoch(image_set, views, pipeline, rank=rank, world_size=2) for rank in (0, 1)]
    for step, (whole, labels) in enumerate(alone):
        for rank, steps in enumerate(ranks):
            assert torch.equal(steps[step][1], labels[rank::2])
            for view, part in zip(whole, steps[step][0], strict=True):
                torch.testing.assert_close(part, view[rank::2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_subset_has_the_views_of_the_whole(image_set: ImageSet, pipeline: str) -> None:
    views = SimSiam().views
    chosen = np.array([3, 19, 4])
    (some, labels), *rest = epoch(image_set, views, pipeline, indices=chosen)
    assert not rest
    assert sorted(labels.tolist()) == sorted(image_set.labels[chosen].tolist())
    whole = torch.cat([step[0][1] for step in epoch(image_set, views, pipeline)])
    for view in some[1]:
        assert (whole - view).abs().amax(dim=(1, 2, 3)).min() < 1e-5


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_without_augmentation_only_the_normalisation_is_left(tmp_path: Path, pipeline: str) -> None:
    array = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    twice = ImageSet(tmp_path, ("a.png", "a.png"), np.zeros(2, np.int64), ("a",))
    ((views, _),) = epoch(twice, PLAIN, pipeline)
    reference = torchvision.transforms.Compose(
        [
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(Image.fromarray(array))
    for view in views:
        torch.testing.assert_close(view[0], reference, rtol=0, atol=1e-6)
    flipped = PLAIN.model_copy(update={"flip_probability": 1.0})
    ((mirrored, _),) = epoch(twice, flipped, pipeline)
    assert torch.equal(mirrored[0], views[0].flip(3))


@pytest.mark.parametrize("pipeline", PIPELINES[1:])
@pytest.mark.parametrize("method", [VICReg(), SwAV(), SimSiam()])
def test_pipelines_make_the_same_views(image_set: ImageSet, method, pipeline: str) -> None:
    """Up to Pillow's rounding to grey levels, image by image."""
    views = method.views.model_copy(update={"jitter": (*method.views.jitter[:3], 0.0)})
    for pillow, others in zip(
        epoch(image_set, views, "pillow"), epoch(image_set, views, pipeline), strict=True
    ):
        for one, other in zip(pillow[0], others[0], strict=True):
            difference = (one - other).abs().mean(dim=(1, 2, 3)) * 0.225 * 255
            # A solarised pixel at the threshold may fall on either side.
            assert difference.median() < 1.5
            assert (difference < 6).all()


def test_pipelines_agree_in_distribution_with_hue(image_set: ImageSet) -> None:
    """Pillow's hue steps move single pixels, not the statistics."""
    moments = {}
    for pipeline in ("pillow", "tensor"):
        steps = [
            step
            for number in range(8)
            for step in epoch(image_set, VICReg().views, pipeline, number)
        ]
        pixels = torch.cat([view for views, _ in steps for view in views])
        moments[pipeline] = torch.stack([pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3))])
    torch.testing.assert_close(moments["tensor"], moments["pillow"], rtol=0, atol=0.02)


def test_tensor_pipeline_needs_one_size(image_set: ImageSet, tmp_path: Path) -> None:
    Image.new("RGB", (14, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (15, 16)).save(tmp_path / "b.png")
    mixed = ImageSet(tmp_path, ("a.png", "b.png"), np.zeros(2, np.int64), ("a",))
    with pytest.raises(E2MCError, match=r"b\.png has 15x16 pixels.*14x16.*pipeline: pillow"):
        epoch(mixed, PLAIN, "tensor")
    for pipeline in ("pillow", "device"):
        assert len(epoch(mixed, PLAIN, pipeline)) == 1


@pytest.mark.parametrize(("pipeline", "workers"), [("pillow", 0), ("device", 1), ("tensor", 0)])
def test_corrupt_image_is_one_clear_message(tmp_path: Path, pipeline: str, workers: int) -> None:
    Image.new("RGB", (14, 14)).save(tmp_path / "good.png")
    (tmp_path / "bad.JPEG").write_bytes(b"\xff\xd8 not more")
    images = ImageSet(tmp_path, ("good.png", "bad.JPEG"), np.zeros(2, np.int64), ("a",))
    with pytest.raises(E2MCError, match=r"cannot decode image .*bad\.JPEG") as caught:
        epoch(images, PLAIN, pipeline, workers=workers)
    assert "Traceback" not in str(caught.value)


def test_normalised_levels_are_torchvisions_bit_for_bit() -> None:
    levels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    reference = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))
    expected = reference(levels.float().div(255))
    assert torch.equal(normalised(levels, (0.228, 0.224, 0.225)), expected)
