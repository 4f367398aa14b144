"""The data sets that the project writes: read back by the loaders, the same bytes each time."""

import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from e2mc.config.experiment import Data, ImageNetData, TreeData
from e2mc.config.settings import ImageNetSettings
from e2mc.data import digits, prepare, scenes
from e2mc.data.cifar10 import prepare_cifar10
from e2mc.data.decode import decode
from e2mc.data.imagenet import open_imagenet, open_tree
from e2mc.data.imagenet32 import prepare_imagenet32
from e2mc.data.inat18 import open_inat18
from e2mc.data.labels import label_subset, read_list
from e2mc.data.tree import write_tree
from e2mc.data.voc07 import open_voc07
from e2mc.errors import E2MCError
from e2mc.files import sha256


def imagenet_data(root: Path) -> ImageNetData:
    return ImageNetData(
        root=root, lists={percent: root / f"{percent}percent.txt" for percent in (1, 10)}
    )


def data_in(root: Path) -> Data:
    return Data(
        prepare="digits",
        imagenet=imagenet_data(root / "imagenet"),
        inat18=root / "inat18",
        voc07=root / "VOCdevkit" / "VOC2007",
        transfer={"inverted": TreeData(root=root / "inverted"), "own": TreeData(root=root / "own")},
    )


def settings_of(data: Data) -> ImageNetSettings:
    return ImageNetSettings(
        root=data.imagenet.root, lists=data.imagenet.lists, validation_fraction=None
    )


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): sha256(path) for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, dict]:
    data = data_in(tmp_path_factory.mktemp("data"))
    return data, prepare.prepare(data)


def test_digits_as_imagenet(written: tuple[Data, dict]) -> None:
    data, summary = written
    train, test = (open_imagenet(settings_of(data), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (997, 800)
    assert summary["imagenet"] == {"classes": 10, "train": 997, "test": 800}
    assert train.classes == tuple(f"n{digit:08d}" for digit in range(10))
    modes = Counter(Image.open(train.path(index)).mode for index in range(100))
    assert modes["L"] > 0
    assert modes["RGB"] > 0
    assert {decode(test.path(index)).size for index in range(0, 800, 80)} == {(16, 16)}


def test_digits_keep_their_labels(written: tuple[Data, dict]) -> None:
    """Written images still show the digit that their folder names."""
    train, test = (open_imagenet(settings_of(written[0]), split) for split in ("train", "test"))

    def vectors(images, indices) -> np.ndarray:
        shrunk = [decode(images.path(i)).convert("L").resize((8, 8)) for i in indices]
        return np.stack([np.asarray(one, float).ravel() for one in shrunk])

    known = vectors(train, range(len(train)))
    asked = range(0, 800, 8)
    distances = ((vectors(test, asked)[:, None] - known[None]) ** 2).sum(axis=2)
    found = train.labels[distances.argmin(axis=1)]
    assert (found == test.labels[list(asked)]).mean() > 0.9


def test_digits_as_one_more_tree(written: tuple[Data, dict]) -> None:
    """Dark on white; the user's own tree is left to the user."""
    data, summary = written
    root = data.transfer["inverted"].root
    train, test = (open_tree(root, split) for split in ("train", "test"))
    assert summary["inverted"] == {"classes": 10, "train": 200, "test": 400}
    assert np.bincount(train.labels).tolist() == [20] * 10
    assert np.bincount(test.labels).tolist() == [40] * 10
    pixels = [np.asarray(decode(test.path(index)).convert("L")) for index in range(0, 400, 40)]
    corners = [image[[0, 0, -1, -1], [0, -1, 0, -1]].mean() for image in pixels]
    assert np.mean(corners) > 200 > 150 > np.mean([image[4:-4, 4:-4].mean() for image in pixels])
    assert not data.transfer["own"].root.exists()


def test_label_lists_are_nested_and_hold_every_class(written: tuple[Data, dict]) -> None:
    data, _ = written
    train = open_imagenet(settings_of(data), "train")
    one, ten = (label_subset(data.imagenet.lists[percent], train) for percent in (1, 10))
    assert (len(one), len(ten)) == (10, 100)
    assert set(one) < set(ten)
    assert sorted(Counter(train.labels[one]).values()) == [1] * 10
    assert set(Counter(train.labels[ten]).values()) == {10}


def test_no_test_digit_is_trained_on() -> None:
    splits = digits.split_digits()
    train, test = ({image.tobytes() for image in splits[split].images} for split in splits)
    assert not train & test
    assert np.bincount(splits["test"].labels).tolist() == [80] * 10


def test_digits_as_inat18(written: tuple[Data, dict]) -> None:
    root = written[0].inat18
    train, test = (open_inat18(root, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (600, 400)
    assert np.bincount(train.labels).tolist() == [30] * 20
    assert np.bincount(test.labels).tolist() == [20] * 20
    categories = [int(Path(name).parent.name) for name in train.names]
    assert categories == train.labels.tolist()
    by_folder = [categories[train.names.index(name)] for name in sorted(train.names)]
    assert by_folder != sorted(by_folder)  # so that the order of the folders gives wrong labels


def test_digits_as_voc(written: tuple[Data, dict]) -> None:
    root = written[0].voc07
    for split in ("train", "test"):
        images = open_voc07(root, split)
        assert images.classes == tuple(sorted(scenes.CLASSES))
        for index, name in enumerate(images.names):
            annotation = ElementTree.parse(root / "Annotations" / f"{Path(name).stem}.xml")
            difficult: dict[str, list[bool]] = {}
            for each in annotation.iter("object"):
                shown = difficult.setdefault(each.findtext("name"), [])
                shown.append(each.findtext("difficult") == "1")
            labels = [
                -1 if name not in difficult else 0 if all(difficult[name]) else 1
                for name in images.classes
            ]
            assert images.labels[index].tolist() == labels
        assert (images.labels == 1).sum(axis=0).min() >= 20
        assert (images.labels == 0).sum() >= 20
        assert decode(images.path(0)).size == (28, 28)


def test_voc_boxes_hold_the_objects(written: tuple[Data, dict]) -> None:
    root = written[0].voc07
    for path in sorted((root / "Annotations").iterdir())[:50]:
        image = np.asarray(decode(root / "JPEGImages" / f"{path.stem}.jpg"), float).mean(axis=2)
        inside = np.zeros(image.shape, bool)
        for box in ElementTree.parse(path).iter("bndbox"):
            left, top, right, bottom = (
                int(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            inside[top - 1 : bottom, left - 1 : right] = True
        assert inside.any()
        assert (image[~inside] < 40).all()  # nothing but JPEG's ringing


def test_the_same_bytes_again(written: tuple[Data, dict], tmp_path: Path) -> None:
    data, _ = written
    again = data_in(tmp_path)
    prepare.prepare(again)
    assert contents(tmp_path) == contents(data.imagenet.root.parent)
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


def test_a_killed_run_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    root = tmp_path / "set"

    def write(part: Path, kill: bool) -> dict[str, int]:
        assert not list(part.iterdir())
        (part / "first").write_text("first")
        if kill:
            raise KeyboardInterrupt
        (part / "second").write_text("second")
        return {"train": 2}

    with pytest.raises(KeyboardInterrupt):
        write_tree(root, "test", partial(write, kill=True))
    assert not root.exists()
    (tmp_path / ".set.part").mkdir()
    (tmp_path / ".set.part" / "half").write_text("what kill -9 leaves behind")
    for _ in range(2):
        assert write_tree(root, "test", partial(write, kill=False)) == {"train": 2}
        assert sorted(contents(root)) == ["first", "prepared.json", "second"]
    with pytest.raises(KeyboardInterrupt):
        write_tree(root, "test", partial(write, kill=True))
    assert sorted(contents(root)) == ["first", "prepared.json", "second"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_other_data_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(E2MCError, match="was not written by this project"):
        prepare.prepare(data_in(tmp_path))
    assert (tmp_path / "imagenet" / "train").is_dir()


def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    def write(part: Path) -> dict[str, int]:
        raise OSError(28, "No space left on device")

    with pytest.raises(E2MCError, match=r"cannot write the data set .*set: No space left"):
        write_tree(tmp_path / "set", "test", write)
    assert not list(tmp_path.iterdir())


def test_nothing_to_prepare() -> None:
    assert prepare.prepare(Data()) == {}


def cifar_archive(path: Path, poison: object = None) -> str:
    rng = np.random.default_rng(0)
    batches = {"batches.meta": {"label_names": ["cat", "dog"]}}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        batches[name] = {"data": pixels, "labels": [0, 1] * 10}
    if poison is not None:
        batches["data_batch_1"]["data"] = poison
    with tarfile.open(path, "w:gz") as archive:
        for name, batch in batches.items():
            content = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sha256(path)


def test_cifar10_from_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    checksum = cifar_archive(archive)
    data = imagenet_data(tmp_path / "cifar10")
    assert prepare_cifar10(data, archive, checksum) == {
        "imagenet": {"train": 100, "classes": 2, "test": 20}
    }
    settings = ImageNetSettings(root=data.root, lists=data.lists, validation_fraction=None)
    train = open_imagenet(settings, "train")
    first = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
    np.testing.assert_array_equal(
        np.asarray(decode(train.path(1))).transpose(2, 0, 1).ravel(), first[2]
    )
    assert train.names[1] == "train/cat/cat_train_00001.png"
    assert len(open_imagenet(settings, "test")) == 20
    one, ten = (read_list(data.lists[percent]) for percent in (1, 10))
    assert (len(one), len(ten)) == (2, 10)
    assert set(one) < set(ten)


def test_cifar10_from_folders(tmp_path: Path) -> None:
    for split, count in (("train", 30), ("test", 3)):
        for category in ("cat", "dog"):
            folder = tmp_path / "source" / split / category
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (32, 32), (index, 0, 0)).save(folder / f"{index}.jpg")
    data = imagenet_data(tmp_path / "cifar10")
    assert prepare_cifar10(data, tmp_path / "source", None)["imagenet"]["train"] == 60
    fewer = prepare_cifar10(imagenet_data(tmp_path / "few"), tmp_path / "source", None, per_class=2)
    assert fewer["imagenet"] == {"train": 4, "test": 6, "classes": 2}
    settings = ImageNetSettings(root=data.root, lists=data.lists, validation_fraction=None)
    train = open_imagenet(settings, "train")
    assert train.names[0] == "train/cat/cat_train_00000.jpg"
    assert len(label_subset(data.lists[10], train)) == 6
    shutil.rmtree(tmp_path / "source" / "test")
    with pytest.raises(E2MCError, match="has no images test/<class>"):
        prepare_cifar10(imagenet_data(tmp_path / "other"), tmp_path / "source", None)
    assert not (tmp_path / "other").exists()


class Poison:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("executed",))


def test_bad_cifar10_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = imagenet_data(tmp_path / "cifar10")
    with pytest.raises(E2MCError, match="nowhere does not exist"):
        prepare_cifar10(data, tmp_path / "nowhere", None)
    archive = tmp_path / "cifar-10-python.tar.gz"
    checksum = cifar_archive(archive, Poison())
    with pytest.raises(E2MCError, match=f"has sha256 {checksum}, expected 0000"):
        prepare_cifar10(data, archive, "0" * 64)
    with pytest.raises(E2MCError, match=r"names \S+, which is not loaded"):
        prepare_cifar10(data, archive, checksum)
    assert not Path("executed").exists()
    assert not data.root.exists()


def coloured(path: Path, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> bytes:
    """A made-up photograph, as PNG so that its pixels are known."""
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).convert(mode).save(path, format="PNG")
    return path.read_bytes()


def tiny_imagenet(root: Path, size: tuple[int, int] = (64, 64)) -> None:
    """The official layout, in which the test images have names that do not follow their classes."""
    lines = []
    for number, wnid in enumerate(("n02", "n01")):
        for index in range(30):
            coloured(root / f"train/{wnid}/images/{wnid}_{index}.JPEG", size, seed=index)
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("n02_0.JPEG\t0\t0\t62\t62\n")
        for index in range(2):
            name = f"val_{2 * index + number}.JPEG"
            coloured(root / f"val/images/{name}", size, mode="L", seed=100 + number)
            lines.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    coloured(root / "test/images/test_0.JPEG", size)
    (root / "wnids.txt").write_text("n02\nn01\n")


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, path.relative_to(folder.parent))
    return archive


def test_imagenet32_from_the_official_archive_and_its_folder(tmp_path: Path) -> None:
    source = tmp_path / "tiny-imagenet-200"
    tiny_imagenet(source)
    archive = zipped(source, tmp_path / "tiny-imagenet-200.zip")
    written = []
    for name, given in (("unpacked", source), ("packed", archive)):
        data = imagenet_data(tmp_path / name)
        summary = prepare_imagenet32(data, given, sha256(archive))
        assert summary["imagenet"] == {"classes": 2, "train": 60, "test": 4, "resized": 64}
        written.append(contents(data.root))
    assert written[0] == written[1]
    settings = ImageNetSettings(root=data.root, lists=data.lists, validation_fraction=None)
    train, test = (open_imagenet(settings, split) for split in ("train", "test"))
    assert train.classes == ("n01", "n02")
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert len(label_subset(data.lists[10], train)) == 6
    # the grey test images of a class show one picture: which class it is follows from pixels alone
    grey = [np.asarray(decode(test.path(index))) for index in range(4)]
    expected = coloured(tmp_path / "n02.png", (64, 64), mode="L", seed=100)
    shrunk = Image.open(io.BytesIO(expected)).convert("RGB").resize((32, 32), Image.BICUBIC)
    np.testing.assert_array_equal(grey[2], np.asarray(shrunk))
    np.testing.assert_array_equal(grey[2], grey[3])
    marker = json.loads((data.root / "prepared.json").read_text())
    assert "bicubic" in marker["origin"]
    assert marker["resized"] == 64


def test_imagenet32_is_antialiased(tmp_path: Path) -> None:
    """Stripes one pixel wide become grey: without a filter as wide as the step they stay."""
    source = tmp_path / "source"
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    for folder in ("train", "val"):
        (source / folder / "n01").mkdir(parents=True)
        Image.fromarray(stripes).save(source / folder / "n01" / "0.png")
    data = imagenet_data(tmp_path / "written")
    prepare_imagenet32(data, source)
    inner = np.asarray(decode(data.root / "val/n01/n01_test_00000.png"), int)[:, 2:-2]
    assert np.abs(inner - 127.5).max() < 2


def test_imagenet32_copies_what_has_the_size(tmp_path: Path) -> None:
    source = tmp_path / "source"
    originals = {
        (folder, index): coloured(source / folder / "n01" / f"{index}.JPEG", (32, 32), seed=index)
        for folder in ("train", "val")
        for index in range(3)
    }
    wide = coloured(source / "train/n01/9.JPEG", (80, 64), seed=9)
    data = imagenet_data(tmp_path / "written")
    summary = prepare_imagenet32(data, source)["imagenet"]
    assert summary == {"classes": 1, "train": 4, "test": 3, "resized": 1}
    written = data.root / "train/n01"
    assert (written / "n01_train_00002.JPEG").read_bytes() == originals["train", 2]
    cropped = Image.open(io.BytesIO(wide)).resize((32, 32), Image.BICUBIC, box=(8, 0, 72, 64))
    np.testing.assert_array_equal(
        np.asarray(decode(written / "n01_train_00003.png")), np.asarray(cropped)
    )
    fewer = prepare_imagenet32(imagenet_data(tmp_path / "few"), source, per_class=2)["imagenet"]
    assert fewer == {"classes": 1, "train": 2, "test": 3, "resized": 1}


def test_bad_imagenet32_sources(tmp_path: Path) -> None:
    data = imagenet_data(tmp_path / "written")

    def refused(message: str, source: Path, checksum: str | None = None) -> None:
        with pytest.raises(E2MCError, match=message):
            prepare_imagenet32(data, source, checksum)
        assert not data.root.exists()

    refused("nowhere does not exist", tmp_path / "nowhere")
    source = tmp_path / "tiny-imagenet-200"
    tiny_imagenet(source, (40, 40))
    archive = zipped(source, tmp_path / "tiny.zip")
    refused(f"sha256 {sha256(archive)}, expected 0000", archive, "0" * 64)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-200])
    refused("is no zip archive, or damaged", cut)
    image = source / "train/n01/images/n01_3.JPEG"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    refused(f"cannot decode image {image}", source)
    image.write_bytes(whole)
    coloured(source / "val/images/val_9.JPEG", (40, 40))
    refused("gives no class to val/images/val_9.JPEG", source)
    (source / "val/images/val_9.JPEG").unlink()
    coloured(source / "train/n03/images/n03_0.JPEG", (40, 40))
    refused("class n03 has images in one of train and val only", source)
    shutil.rmtree(source / "val")
    refused("has no images val/<wnid>", source)
