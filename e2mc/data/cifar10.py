"""CIFAR-10 as a tree of class folders, from the official archive or from folders of images."""

import io
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from e2mc import files
from e2mc.config.experiment import ImageNetData
from e2mc.data.imagenet import EXTENSIONS
from e2mc.data.tree import NamedImage, write_images, write_tree
from e2mc.errors import E2MCError

_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def prepare_cifar10(
    imagenet: ImageNetData, source: Path, sha256: str | None, per_class: int | None = None
) -> dict[str, dict[str, int]]:
    """Write `train/<class>/*`, `val/<class>/*` and class-balanced label lists.

    Args:
        imagenet: where the tree and the lists go.
        source: the archive ``cifar-10-python.tar.gz``, or a folder with `train/<class>/*` and
            `test/<class>/*` images.
        sha256: of the archive; None: not checked.
        per_class: training images to keep of each class, the first ones; None: all.

    Returns:
        Counts of classes and images, under "imagenet".

    Raises:
        E2MCError: no such source, an archive with another hash, a folder without images.
    """
    if not source.exists():
        raise E2MCError(
            f"CIFAR-10: {source} does not exist. Set `data.cifar10_source` to the official archive "
            "(`e2mc fetch cifar10`), or to a folder with train/<class>/* and test/<class>/* images"
        )
    if source.is_file() and sha256 is not None:
        _require_hash(source, sha256)
    images = partial(_from_folder if source.is_dir() else _from_archive, source)
    write = partial(write_images, imagenet=imagenet, images=images, per_class=per_class)
    return {"imagenet": write_tree(imagenet.root, "CIFAR-10", write)}


def _from_folder(source: Path, split: str) -> Iterator[NamedImage]:
    """Every image of a split."""
    images = sorted(
        path for path in (source / split).glob("*/*") if path.suffix.lower() in EXTENSIONS
    )
    if not images:
        raise E2MCError(f"{source} has no images {split}/<class>/*: is it a folder of CIFAR-10?")
    for path in images:
        yield NamedImage(path.parent.name, path.suffix, path.read_bytes())


def _require_hash(archive: Path, sha256: str) -> None:
    found = files.sha256(archive)
    if found != sha256:
        raise E2MCError(
            f"{archive} has sha256 {found}, expected {sha256}: download it again with "
            "`e2mc fetch cifar10`"
        )


def _from_archive(archive: Path, split: str) -> Iterator[NamedImage]:
    """As :func:`_from_folder`; members are read in memory, nothing is unpacked to disk."""
    with tarfile.open(archive) as tar:

        def read(name: str) -> Any:
            member = tar.extractfile(f"cifar-10-batches-py/{name}")
            assert member is not None
            return _PlainUnpickler(member, encoding="latin1").load()

        classes = read("batches.meta")["label_names"]
        for name in _BATCHES[split]:
            batch = read(name)
            pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32)
            for image, label in zip(pixels.transpose(0, 2, 3, 1), batch["labels"], strict=True):
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, format="PNG")
                yield NamedImage(classes[label], ".png", buffer.getvalue())


class _PlainUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and plain values; whatever else the file names is refused."""

    _ALLOWED = frozenset(
        [
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        ]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise E2MCError(f"the CIFAR-10 archive names {module}.{name}, which is not loaded")
        return super().find_class(module, name)
