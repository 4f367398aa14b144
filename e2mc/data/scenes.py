"""Scenes of several digits in VOC2007's layout: the demo's multi-label data."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from e2mc.data.digits import Digits, enlarged, save
from e2mc.data.voc07 import SETS

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CANVAS = 28
SCENES = {"train": 300, "test": 300}
DIFFICULT = 0.15
"""Share of objects that are faint or cut off at the border."""
_SIDES = {1: (14, 22), 2: (12, 15), 3: (10, 13), 4: (10, 12)}


class Object(NamedTuple):
    """One digit of a scene; the box is left, top, right, bottom in whole pixels, from 1."""

    digit: int
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool


def write_voc07(part: Path, splits: dict[str, Digits]) -> dict[str, int]:
    """VOC2007's layout: images, annotations with boxes, one list per class and split."""
    rng = np.random.default_rng(7)
    numbers = rng.permutation(sum(SCENES.values())) + 1
    main = part / "ImageSets" / "Main"
    for folder in (part / "Annotations", main):
        folder.mkdir(parents=True)
    start = 0
    for split, count in SCENES.items():
        identities = [f"{number:06d}" for number in sorted(numbers[start : start + count])]
        start += count
        scenes = []
        for identity in identities:
            image, objects = _scene(splits[split], rng)
            save(image, part / "JPEGImages" / f"{identity}.jpg")
            (part / "Annotations" / f"{identity}.xml").write_bytes(_annotation(identity, objects))
            scenes.append(objects)
        _write_lists(main, SETS[split], identities, scenes)
    return {"classes": len(CLASSES), **SCENES}


def _scene(digits: Digits, rng: np.random.Generator) -> tuple[Image.Image, list[Object]]:
    count = int(rng.integers(1, 5))
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    objects: list[Object] = []
    taken = np.zeros((CANVAS, CANVAS), bool)
    for _ in range(count):
        difficult = bool(rng.random() < DIFFICULT)
        truncated = difficult and bool(rng.random() < 0.5)
        side = int(rng.integers(*_SIDES[count], endpoint=True))
        place = _place(taken, side, truncated, rng)
        chosen = int(rng.integers(len(digits.labels)))
        if place is None:
            continue
        image = np.asarray(enlarged(digits.images[chosen], side))
        if difficult and not truncated:
            image = (image * 0.2).astype(np.uint8)
        box = _paste(canvas, taken, image, *place)
        objects.append(Object(int(digits.labels[chosen]), box, truncated, difficult))
    return Image.fromarray(canvas).convert("RGB"), objects


def _place(
    taken: NDArray[np.bool_], side: int, truncated: bool, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Top and left corner of a free place; None if none is found. A truncated digit loses 40 %."""
    for _ in range(100):
        top, left = (int(corner) for corner in rng.integers(0, CANVAS - side, 2, endpoint=True))
        if truncated:
            left = -int(0.4 * side) if rng.random() < 0.5 else CANVAS - int(0.6 * side)
        if not taken[max(top, 0) : top + side, max(left, 0) : left + side].any():
            return top, left
    return None


def _paste(
    canvas: NDArray[np.uint8],
    taken: NDArray[np.bool_],
    image: NDArray[np.uint8],
    top: int,
    left: int,
) -> tuple[int, int, int, int]:
    first, last = max(left, 0), min(left + len(image), CANVAS)
    area = np.s_[top : top + len(image), first:last]
    canvas[area] = image[:, first - left : last - left]
    taken[area] = True
    return first + 1, top + 1, last, top + len(image)


def _annotation(identity: str, objects: list[Object]) -> bytes:
    def add(parent: ElementTree.Element, **values: object) -> None:
        for tag, value in values.items():
            ElementTree.SubElement(parent, tag).text = str(value)

    root = ElementTree.Element("annotation")
    add(root, folder="VOC2007", filename=f"{identity}.jpg")
    add(ElementTree.SubElement(root, "size"), width=CANVAS, height=CANVAS, depth=3)
    add(root, segmented=0)
    for each in objects:
        element = ElementTree.SubElement(root, "object")
        add(element, name=CLASSES[each.digit], pose="Unspecified")
        add(element, truncated=int(each.truncated), difficult=int(each.difficult))
        corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), each.box, strict=True))
        add(ElementTree.SubElement(element, "bndbox"), **corners)
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root) + b"\n"


def _write_lists(main: Path, which: str, identities: list[str], scenes: list[list[Object]]) -> None:
    (main / f"{which}.txt").write_text("".join(f"{identity}\n" for identity in identities))
    for digit, name in enumerate(CLASSES):
        lines = []
        for identity, objects in zip(identities, scenes, strict=True):
            shown = [each.difficult for each in objects if each.digit == digit]
            label = -1 if not shown else 0 if all(shown) else 1
            lines.append(f"{identity} {label:2d}\n")
        (main / f"{name}_{which}.txt").write_text("".join(lines))
