"""The demo's data: scikit-learn's handwritten digits, written as well-known data sets.

1,797 real images of 8x8 pixels come with scikit-learn. They become an ImageNet-style tree (ten
classes), an iNaturalist-2018-style tree (digits upright and turned, twenty classes), a
VOC2007-style tree (scenes of several digits) and one more tree of class folders (dark digits on
white). Every file a training split is made of shows training digits only. The same bytes are
written each time.
"""

import json
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 16
"""Pixels of the images of single digits."""
TEST_PER_DIGIT = 80
TURNED_PER_CLASS = {"train": 30, "test": 20}
INVERTED_PER_CLASS = {"train": 20, "test": 40}


class Digits(NamedTuple):
    """Images (n, 8, 8) uint8, white on black, and which digit each shows, (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def of(self, digit: int) -> NDArray[np.uint8]:
        """All images of one digit."""
        return np.asarray(self.images[self.labels == digit])


def split_digits() -> dict[str, Digits]:
    """The digits in random order: 80 of each for the test, the other 997 for training."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = np.rint(bunch.images[order] * (255 / 16)).astype(np.uint8)
    labels = bunch.target[order].astype(np.int64)
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[:TEST_PER_DIGIT]] = True
    return {
        "train": Digits(images[~test], labels[~test]),
        "test": Digits(images[test], labels[test]),
    }


def enlarged(digit: NDArray[np.uint8], size: int) -> Image.Image:
    """A digit in grey, resized to `size` pixels."""
    return Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path) -> None:
    """Write a JPEG of high quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="JPEG", quality=95, subsampling=0)


def write_imagenet(part: Path, splits: dict[str, Digits]) -> tuple[dict[str, int], list[list[str]]]:
    """ImageNet's layout: `train/<wnid>/<wnid>_<i>.JPEG`, `val/<wnid>/digits_val_<i>.JPEG`.

    Every tenth file is a grey JPEG, as some of ImageNet's are.

    Returns:
        Counts, and the training file names of each class.
    """
    names: list[list[str]] = [[] for _ in range(10)]
    for index, (image, digit) in enumerate(zip(*splits["train"], strict=True)):
        wnid = _wnid(digit)
        names[digit].append(f"{wnid}_{index}.JPEG")
        save(_grey_or_rgb(image, index), part / "train" / wnid / names[digit][-1])
    for index, (image, digit) in enumerate(zip(*splits["test"], strict=True)):
        file = f"digits_val_{index + 1:08d}.JPEG"
        save(_grey_or_rgb(image, index), part / "val" / _wnid(digit) / file)
    counts = {split: len(digits.labels) for split, digits in splits.items()}
    return {"classes": 10, **counts}, names


def _wnid(digit: int) -> str:
    return f"n{digit:08d}"


def _grey_or_rgb(image: NDArray[np.uint8], index: int) -> Image.Image:
    grey = enlarged(image, SIZE)
    return grey if index % 10 == 0 else grey.convert("RGB")


def write_inat18(part: Path, splits: dict[str, Digits]) -> dict[str, int]:
    """iNaturalist 2018's layout: another task on the same images, upright against turned."""
    ids = np.random.default_rng(18).permutation(20).tolist()
    kinds = [(digit, turns) for turns in (0, 1) for digit in range(10)]
    categories = [
        {
            "id": identity,
            "name": f"{_SUPERCATEGORY[turns]} {digit}",
            "supercategory": _SUPERCATEGORY[turns],
        }
        for identity, (digit, turns) in zip(ids, kinds, strict=True)
    ]
    counts = {"classes": len(categories)}
    for split, file in (("train", "train2018.json"), ("test", "val2018.json")):
        images: list[dict[str, object]] = []
        annotations: list[dict[str, int]] = []
        for identity, (digit, turns) in zip(ids, kinds, strict=True):
            for image in _chosen(splits[split].of(digit), turns, TURNED_PER_CLASS[split]):
                name = f"{md5(image.tobytes(), usedforsecurity=False).hexdigest()}.jpg"
                path = f"train_val2018/{_SUPERCATEGORY[turns]}/{identity}/{name}"
                save(enlarged(image, SIZE).convert("RGB"), part / path)
                number = {"train": 0, "test": 10_000}[split] + len(images) + 1
                images.append({"id": number, "file_name": path, "height": SIZE, "width": SIZE})
                annotations.append({"id": number, "image_id": number, "category_id": identity})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (part / file).write_text(json.dumps(content), encoding="utf-8")
        counts[split] = len(images)
    return counts


def write_inverted(part: Path, splits: dict[str, Digits]) -> dict[str, int]:
    """A folder of class folders: the last digits of each split, dark on white as on paper."""
    counts = {"classes": 10}
    for split, digits in splits.items():
        count = INVERTED_PER_CLASS[split]
        for digit in range(10):
            for index, image in enumerate(digits.of(digit)[-count:]):
                path = part / split / str(digit) / f"{index:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                enlarged(255 - image, SIZE).convert("RGB").save(path)
        counts[split] = 10 * count
    return counts


_SUPERCATEGORY = ("Upright", "Turned")


def _chosen(images: NDArray[np.uint8], turns: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """The first `count` images upright, the next ones turned by 90 degrees."""
    for image in images[turns * count : (turns + 1) * count]:
        yield np.ascontiguousarray(np.rot90(image, turns))
