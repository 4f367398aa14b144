"""The data sets that the project writes: read back by the loaders, the same bytes each time."""

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
from e2mc.data.decode import decode
from e2mc.data.imagenet import open_imagenet, open_tree
from e2mc.data.inat18 import open_inat18
from e2mc.data.labels import label_subset
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
