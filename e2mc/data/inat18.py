"""iNaturalist 2018: a folder of images whose splits and labels stand in COCO-style JSON files.

Layout: ``train2018.json``, ``val2018.json`` and ``train_val2018/<Supercategory>/<category>/*.jpg``.
torchvision's ``INaturalist`` ignores the JSON files and so has neither splits nor their labels.
"""

from pathlib import Path
from typing import Any

import numpy as np

from e2mc.data.image_set import ImageSet, Split, require_files, require_folder, some
from e2mc.errors import E2MCError
from e2mc.files import read_json

FILES = {"train": "train2018.json", "test": "val2018.json"}


def open_inat18(root: Path, split: Split) -> ImageSet:
    """Read one split.

    The label is the rank of the category id among the ids of the JSON; the original's ids run
    from 0 to 8141, so there it is the id itself. It is never the order of the folders.

    Args:
        root: folder of the two JSON files; their `file_name`s are relative to it.
        split: "train" (`train2018.json`) or "test" (`val2018.json`).

    Returns:
        Names in the JSON's order of images.

    Raises:
        E2MCError: missing folder or JSON; JSON without the expected entries; images that are
            missing, unlabelled or labelled twice; unknown categories; categories that differ
            between the two JSON files.
    """
    require_folder(root, "train2018.json, val2018.json and train_val2018/")
    source = root / FILES[split]
    content = _read(source)
    categories = _categories(content, source)
    for other in FILES.values():
        if other != source.name and (root / other).exists():
            _require_same(categories, _categories(_read(root / other), root / other), source)
    rank = {identity: label for label, identity in enumerate(sorted(categories))}
    category = _category_of_image(content, source)
    images = content["images"]
    unlabelled = [str(image["file_name"]) for image in images if image["id"] not in category]
    if unlabelled:
        raise E2MCError(
            f"{source}: {len(unlabelled)} image(s) without annotation: {some(unlabelled)}"
        )
    unknown = sorted({str(found) for found in category.values() if found not in rank})
    if unknown:
        raise E2MCError(f"{source}: annotations name unknown categories: {some(unknown)}")
    names = tuple(str(image["file_name"]) for image in images)
    require_files(root, names, source)
    labels = np.array([rank[category[image["id"]]] for image in images], np.int64)
    return ImageSet(root, names, labels, tuple(categories[identity] for identity in rank))


def _read(source: Path) -> dict[str, Any]:
    content = read_json(source)
    for key, fields in _FIELDS.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise E2MCError(f"{source} has no list '{key}': is it iNaturalist 2018's JSON?")
        lacking = [field for field in fields if any(field not in entry for entry in entries)]
        if lacking:
            raise E2MCError(f"{source}: entries of '{key}' lack {', '.join(lacking)}")
    return dict(content)


_FIELDS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id"),
    "categories": ("id",),
}


def _categories(content: dict[str, Any], source: Path) -> dict[int, str]:
    categories = {
        int(entry["id"]): str(entry.get("name", entry["id"])) for entry in content["categories"]
    }
    if len(categories) != len(content["categories"]):
        raise E2MCError(f"{source}: a category id appears twice")
    return categories


def _require_same(categories: dict[int, str], others: dict[int, str], source: Path) -> None:
    lone = sorted(str(identity) for identity in set(categories) ^ set(others))
    if lone:
        raise E2MCError(
            f"{source.parent}: train2018.json and val2018.json have different categories: "
            f"{some(lone)} in one of them only. They belong to different releases"
        )


def _category_of_image(content: dict[str, Any], source: Path) -> dict[Any, int]:
    category: dict[Any, int] = {}
    known = {image["id"] for image in content["images"]}
    if len(known) != len(content["images"]):
        raise E2MCError(f"{source}: an image id appears twice")
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        if image not in known:
            raise E2MCError(f"{source}: an annotation names image id {image}, which is not listed")
        if image in category:
            raise E2MCError(f"{source}: image id {image} has several annotations, expected one")
        category[image] = annotation["category_id"]
    return category
