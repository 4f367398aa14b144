"""200 classes of ImageNet at 32 pixels, from Tiny ImageNet's archive or from class folders."""

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image, ImageOps

from e2mc import files
from e2mc.config.experiment import ImageNetData
from e2mc.data.decode import decode
from e2mc.data.image_set import some
from e2mc.data.imagenet import EXTENSIONS
from e2mc.data.tree import FOLDERS, NamedImage, write_images, write_tree
from e2mc.errors import E2MCError

SIZE = 32
"""Pixels of both sides."""
ORIGIN = (
    f"ImageNet at {SIZE} pixels: images of another size were cropped to a square and resized once, "
    "by Pillow's bicubic filter, which is antialiased, and written as PNG"
)
_ANNOTATIONS = "val/val_annotations.txt"
_IMAGE = re.compile(r"(?P<split>train|val)/(?P<folder>[^/]+)/(images/)?(?P<file>[^/]+)")


class _Source(NamedTuple):
    """Files below the folder of the splits: their paths there, and how one is read."""

    names: tuple[str, ...]
    read: Callable[[str], bytes]


def prepare_imagenet32(
    imagenet: ImageNetData, source: Path, sha256: str | None = None, per_class: int | None = None
) -> dict[str, dict[str, int]]:
    """Write `train/<wnid>/*`, `val/<wnid>/*` and class-balanced label lists.

    Images that have 32 pixels are copied as they are. All others are resized, once: views are then
    cut from images of one size, as of CIFAR-10.

    Args:
        imagenet: where the tree and the lists go.
        source: Tiny ImageNet's ``tiny-imagenet-200.zip``, the folder that it unpacks to, or a
            folder with `train/<wnid>/*` and `val/<wnid>/*` images. Its `test` has no labels and is
            not read.
        sha256: of an archive; None: not checked.
        per_class: training images to keep of each class, the first by name; None: all.

    Returns:
        Counts of classes and images, and of those that were resized, under "imagenet".

    Raises:
        E2MCError: no such source, an archive with another hash, a folder of another layout, test
            images without a class, other classes in the two splits, or a corrupt image.
    """
    if not source.exists():
        raise E2MCError(
            f"ImageNet at {SIZE} pixels: {source} does not exist. Set `data.imagenet32_source` to "
            "Tiny ImageNet's archive (`e2mc fetch tiny-imagenet`), or to a folder with "
            "train/<wnid>/* and val/<wnid>/* images"
        )
    if source.is_file() and sha256 is not None and (found := files.sha256(source)) != sha256:
        raise E2MCError(
            f"{source} has sha256 {found}, expected {sha256}: download it again with "
            "`e2mc fetch tiny-imagenet`"
        )

    def write(part: Path) -> dict[str, int]:
        with _opened(source) as opened:
            resized: list[str] = []
            images = partial(_images, source, opened, _classes(source, opened), resized)
            counts = write_images(part, imagenet, images, per_class)
        return {**counts, "resized": len(resized)}

    return {"imagenet": write_tree(imagenet.root, ORIGIN, write)}


def _opened(source: Path) -> AbstractContextManager[_Source]:
    return _folder(source) if source.is_dir() else _archive(source)


@contextmanager
def _folder(source: Path) -> Iterator[_Source]:
    names = (path.relative_to(source).as_posix() for path in source.glob("*/**/*"))
    yield _Source(tuple(sorted(names)), lambda name: (source / name).read_bytes())


@contextmanager
def _archive(source: Path) -> Iterator[_Source]:
    """Members are read in memory; the archive has one folder, in which everything lies."""
    try:
        with zipfile.ZipFile(source) as archive:
            inside = {name.partition("/")[2]: name for name in archive.namelist()}
            yield _Source(tuple(sorted(inside)), lambda name: archive.read(inside[name]))
    except zipfile.BadZipFile as error:
        raise E2MCError(
            f"{source} is no zip archive, or damaged ({error}): download it again with "
            "`e2mc fetch tiny-imagenet`, or unpack it and name the folder"
        ) from error


def _classes(source: Path, opened: _Source) -> dict[str, str]:
    """Every image of both splits -> its class."""
    annotated = _annotated(opened)
    classes = {}
    for name in opened.names:
        found = _IMAGE.fullmatch(name)
        if found and PurePosixPath(name).suffix.lower() in EXTENSIONS:
            classes[name] = found["folder"]
            if found["split"] == "val" and found["folder"] == "images":
                classes[name] = annotated.get(found["file"], "")
    if lost := [name for name, category in classes.items() if not category]:
        raise E2MCError(
            f"{source}: {_ANNOTATIONS} gives no class to {some(lost)}: unpack the archive again"
        )
    of_split = {
        folder: {category for name, category in classes.items() if name.startswith(f"{folder}/")}
        for folder in FOLDERS.values()
    }
    for folder, found_classes in of_split.items():
        if not found_classes:
            raise E2MCError(
                f"{source} has no images {folder}/<wnid>/*: expected Tiny ImageNet, or a folder "
                "with train/<wnid>/* and val/<wnid>/*"
            )
    if lone := sorted(of_split["train"] ^ of_split["val"]):
        raise E2MCError(
            f"{source}: class {some(lone)} has images in one of train and val only: unpack the "
            "archive again, or remove the class"
        )
    return classes


def _annotated(opened: _Source) -> dict[str, str]:
    """File name in `val/images` -> class; empty where the layout is that of class folders."""
    if _ANNOTATIONS not in opened.names:
        return {}
    lines = opened.read(_ANNOTATIONS).decode().splitlines()
    return dict(line.split("\t")[:2] for line in lines if line.strip())


def _images(
    source: Path, opened: _Source, classes: dict[str, str], resized: list[str], split: str
) -> Iterator[NamedImage]:
    """Images of a split, class by class; names of those that are not copied go to `resized`."""
    of_split = (name for name in classes if name.startswith(f"{FOLDERS[split]}/"))
    for name in sorted(of_split, key=lambda name: (classes[name], name)):
        content = opened.read(name)
        image = decode(f"{source}/{name}", content)
        if image.size == (SIZE, SIZE):
            yield NamedImage(classes[name], PurePosixPath(name).suffix, content)
            continue
        resized.append(name)
        buffer = BytesIO()
        square = ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BICUBIC)
        square.save(buffer, format="PNG")
        yield NamedImage(classes[name], ".png", buffer.getvalue())
