"""CIFAR-10 as a tree of class folders, from the official archive or from folders of images."""

import io
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from hashlib import md5 as md5_hash
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from e2mc.config.experiment import ImageNetData
from e2mc.data.imagenet import EXTENSIONS
from e2mc.data.tree import label_lists, write_lists, write_tree
from e2mc.errors import E2MCError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
"""As in torchvision's ``CIFAR10``."""
_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
_FOLDERS = {"train": "train", "test": "val"}


def prepare_cifar10(
    imagenet: ImageNetData, source: Path | None, md5: str = MD5, per_class: int | None = None
) -> dict[str, dict[str, int]]:
    """Write `train/<class>/*`, `val/<class>/*` and class-balanced label lists.

    Args:
        imagenet: where the tree and the lists go.
        source: the archive ``cifar-10-python.tar.gz``, or a folder with `train/<class>/*` and
            `test/<class>/*` images.
        md5: of the archive.
        per_class: training images to keep of each class, the first ones; None: all.

    Returns:
        Counts of classes and images, under "imagenet".

    Raises:
        E2MCError: no source, an archive with another checksum, a folder without images.
    """
    if source is None or not source.exists():
        missing = "no source is given" if source is None else f"{source} does not exist"
        raise E2MCError(
            f"CIFAR-10: {missing}. Download {URL} and set `data.cifar10_source` to the file, or "
            "to a folder with train/<class>/* and test/<class>/* images"
        )
    if source.is_file():
        _verify(source, md5)
    images = partial(_from_folder if source.is_dir() else _from_archive, source)

    def write(part: Path) -> dict[str, int]:
        counts: dict[str, int] = {}
        for split, folder in _FOLDERS.items():
            names: dict[str, list[str]] = {}
            for category, suffix, content in images(split):
                files = names.setdefault(category, [])
                if split == "train" and len(files) == per_class:
                    continue
                files.append(f"{category}_{split}_{len(files):05d}{suffix}")
                (part / folder / category).mkdir(parents=True, exist_ok=True)
                (part / folder / category / files[-1]).write_bytes(content)
            counts[split] = sum(len(files) for files in names.values())
            if split == "train":
                ordered = [names[category] for category in sorted(names)]
                lists = label_lists(ordered, sorted(imagenet.lists), seed=0)
                write_lists(lists, imagenet.lists, imagenet.root, part)
                counts["classes"] = len(names)
        return counts

    return {"imagenet": write_tree(imagenet.root, "CIFAR-10", write)}


def _from_folder(source: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
    """Class, file suffix and bytes of every image of a split."""
    files = sorted(
        path for path in (source / split).glob("*/*") if path.suffix.lower() in EXTENSIONS
    )
    if not files:
        raise E2MCError(f"{source} has no images {split}/<class>/*: is it a folder of CIFAR-10?")
    for path in files:
        yield path.parent.name, path.suffix, path.read_bytes()


def _verify(archive: Path, md5: str) -> None:
    with archive.open("rb") as stream:
        digest = md5_hash(usedforsecurity=False)
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise E2MCError(
            f"{archive} has md5 {digest.hexdigest()}, expected {md5}: download {URL} again"
        )


def _from_archive(archive: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
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
                yield classes[label], ".png", buffer.getvalue()


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
