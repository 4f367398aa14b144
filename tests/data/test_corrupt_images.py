"""Corrupt images: an error by name, or stood in for by the next sound one if asked for."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from e2mc.config.experiment import Images
from e2mc.config.methods import SwAV
from e2mc.data.decode import CorruptImageError, decode, decode_sample
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.image_set import ImageSet
from e2mc.data.views import TrainingViews
from e2mc.errors import E2MCError

COUNT = 14
STAND_INS = {3: 5, 4: 5, 9: 10, 13: 0}
"""Corrupt image -> the next sound one; the first follows the last."""
SIZES = Images(size=12, small_size=8, evaluation_resize=14)
CPU = torch.device("cpu")


def image_set(folder: Path) -> ImageSet:
    names = tuple(f"{index:02d}.png" for index in range(COUNT))
    return ImageSet(folder, names, np.arange(COUNT), tuple(map(str, range(COUNT))))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    images = image_set(tmp_path_factory.mktemp("damaged"))
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        pixels = rng.integers(0, 256, (16, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images.path(index))
        if index in STAND_INS:
            content = images.path(index).read_bytes()
            images.path(index).write_bytes(content[: len(content) // 2])
    return images


@pytest.fixture(scope="module")
def repaired(damaged: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """The same set, the files themselves replaced by copies of those that stand in for them."""
    images = image_set(tmp_path_factory.mktemp("repaired"))
    for index in range(COUNT):
        shutil.copy(damaged.path(STAND_INS.get(index, index)), images.path(index))
    return images


def epoch(images: ImageSet, pipeline: str, first: int = 0, skip: bool = True, **more):
    """Labels, views and count of each step."""
    recipe = SwAV().views.model_copy(update={"pipeline": pipeline})
    given = {"batch_size": 4, "seed": 5, "workers": 0, "device": CPU, "skip_corrupt": skip} | more
    views = TrainingViews(images, recipe, SIZES, **given)
    return [(labels, made, views.corrupt) for made, labels in views.epoch(2, first)]


def assert_same(one, other) -> None:
    for (labels, views, _), (other_labels, others, _) in zip(one, other, strict=True):
        assert torch.equal(labels, other_labels)
        assert all(torch.equal(a, b) for a, b in zip(views, others, strict=True))


@pytest.mark.parametrize(("pipeline", "workers"), [("pillow", 0), ("device", 2), ("tensor", 0)])
def test_the_views_are_those_of_a_repaired_data_set(damaged, repaired, pipeline, workers) -> None:
    steps = epoch(damaged, pipeline, workers=workers)
    assert_same(steps, epoch(repaired, pipeline, skip=False))
    counts = [sum(int(label) in STAND_INS for label in labels) for labels, _, _ in steps]
    assert [count for _, _, count in steps] == counts
    assert sum(counts) == len(STAND_INS)


@pytest.mark.parametrize("pipeline", ["pillow", "tensor"])
def test_entered_late_and_shared_by_two_processes(damaged, pipeline) -> None:
    whole = epoch(damaged, pipeline)
    assert_same(whole[2:], epoch(damaged, pipeline, first=2))
    ranks = [epoch(damaged, pipeline, rank=rank, world_size=2) for rank in (0, 1)]
    for step, (labels, views, count) in enumerate(whole):
        assert ranks[0][step][2] + ranks[1][step][2] == count
        for rank in (0, 1):
            assert torch.equal(ranks[rank][step][0], labels[rank::2])
            for view, part in zip(views, ranks[rank][step][1], strict=True):
                torch.testing.assert_close(part, view[rank::2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pipeline", ["pillow", "tensor"])
def test_each_is_named_once(damaged, capsys, pipeline) -> None:
    recipe = SwAV().views.model_copy(update={"pipeline": pipeline})
    views = TrainingViews(damaged, recipe, SIZES, 4, 0, 0, CPU, skip_corrupt=True)
    for number in range(2):
        for _ in views.epoch(number):
            pass
    lines = capsys.readouterr().err.splitlines()
    assert sorted(lines) == sorted(
        f"WARNING: cannot decode image {damaged.path(index)}: the next one that is sound takes its "
        "place (data.corrupt_images: skip)"
        for index in STAND_INS
    )


@pytest.mark.parametrize("pipeline", ["pillow", "tensor"])
def test_by_default_and_in_every_evaluation_they_are_errors(damaged, pipeline) -> None:
    with pytest.raises(CorruptImageError, match=r"cannot decode image .*(03|04|09|13)\.png"):
        epoch(damaged, pipeline, skip=False)
    epoch(damaged, pipeline)  # skipping here must not admit them there
    std = (0.2, 0.2, 0.2)
    with pytest.raises(CorruptImageError, match=r"cannot decode image .*03\.png"):
        list(evaluation_batches(damaged, SIZES, "center", std, pipeline, 5))


def test_nothing_stands_in_for_a_file_that_cannot_be_read(damaged, tmp_path) -> None:
    """It may be the disk: a million stand-ins later the training would be of one image."""
    images = image_set(tmp_path)
    with pytest.raises(E2MCError, match=r"00\.png does not exist") as missing:
        decode_sample(images, 0, skip_corrupt=True, decoder=decode)
    images.path(0).mkdir()
    with pytest.raises(E2MCError, match=r"cannot read image .*00\.png: Is a directory") as folder:
        decode_sample(images, 0, skip_corrupt=True, decoder=decode)
    for caught in (missing, folder):
        assert not isinstance(caught.value, CorruptImageError)


def test_a_set_without_a_sound_image(tmp_path) -> None:
    images = image_set(tmp_path)
    for index in range(COUNT):
        images.path(index).write_bytes(b"\x89PNG")
    with pytest.raises(CorruptImageError, match="none of the 14 images in"):
        decode_sample(images, 5, skip_corrupt=True, decoder=decode)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["JPEG", "png", "bmp", "webp", "tif", "ppm"])
def test_whatever_is_done_to_a_file_is_one_error(tmp_path, suffix) -> None:
    """Pillow raises half a dozen types; every one of them must become ours."""
    path, rng = tmp_path / f"image.{suffix}", np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    Image.fromarray(pixels).save(path)
    sound, refused = path.read_bytes(), 0
    for _ in range(150):
        content = np.frombuffer(sound, np.uint8).copy()
        content[rng.integers(0, min(len(content), 300), 2)] = rng.integers(0, 256, 2)
        path.write_bytes(content.tobytes()[: rng.integers(1, 2 * len(content))])
        try:
            decode(path)
        except CorruptImageError:
            refused += 1
    assert refused > 20
