"""CIFAR-10 as a tree: from the official archive and from folders."""

import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2mc.config.settings import ImageNetSettings
from e2mc.data.cifar10 import prepare_cifar10
from e2mc.data.decode import decode
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import label_subset, read_list
from e2mc.errors import E2MCError
from e2mc.files import sha256
from tests.data.test_prepare import imagenet_data


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
