"""200 classes of ImageNet at 32 pixels: from Tiny ImageNet's archive and from folders."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2mc.config.settings import ImageNetSettings
from e2mc.data.decode import decode
from e2mc.data.imagenet import open_imagenet
from e2mc.data.imagenet32 import prepare_imagenet32
from e2mc.data.labels import label_subset
from e2mc.errors import E2MCError
from e2mc.files import sha256
from tests.data.test_prepare import contents, imagenet_data


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
