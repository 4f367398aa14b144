"""What is said about a data set before hours are spent on it."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from e2mc.config.protocols import IMAGENET, Original
from e2mc.config.settings import ImageNetSettings
from e2mc.data.checks import Finding, check_imagenet, check_splits
from e2mc.data.image_set import open_images
from e2mc.files import sha256

FOLDERS = hashlib.sha256(b"n01\nn02\n").hexdigest()


@pytest.fixture
def settings(tmp_path: Path) -> ImageNetSettings:
    for split in ("train", "val"):
        for wnid in ("n01", "n02"):
            (tmp_path / split / wnid).mkdir(parents=True)
            for number in range(2):
                name = f"{wnid}_{split}_{number}.JPEG"
                Image.new("RGB", (4, 4)).save(tmp_path / split / wnid / name)
    (tmp_path / "list.txt").write_text("n01_train_0.JPEG\nn02_train_1.JPEG\n")
    lists = {10: tmp_path / "list.txt"}
    return ImageNetSettings(root=tmp_path, lists=lists, validation_fraction=None)


def listed(settings: ImageNetSettings) -> dict[int, str]:
    return {10: sha256(settings.lists[10])}


def expected(**changes) -> Original:
    right = Original(
        classes=2,
        train=4,
        test=4,
        labels={"val/n02/n02_val_0.JPEG": 1},
        folders=FOLDERS,
    )
    return right._replace(**changes)


def test_sound_data_set(settings: ImageNetSettings) -> None:
    for wanted in (None, expected()):
        findings = check_imagenet(settings, wanted, listed(settings) if wanted else None)
        assert [finding.ok for finding in findings] == [True] * 3
        assert "4 images of 2 classes" in findings[0].message
        assert "2 images on" in findings[2].message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 5}, "4 images of 2 classes.*expected 5 of 2"),
        ({"classes": 3}, "expected 4 of 3"),
        ({"labels": {"val/n02/n02_val_0.JPEG": 0}}, "n02_val_0.JPEG has label .*1.*expected 0"),
        ({"labels": {"val/n03/n03_val_0.JPEG": 1}}, "n03_val_0.JPEG .*is not there: .*renamed"),
        ({"folders": FOLDERS[::-1]}, "names of the class folders are not the original's"),
    ],
)
def test_differences_are_found(settings: ImageNetSettings, changes: dict, message: str) -> None:
    findings = check_imagenet(settings, expected(**changes))
    bad = [finding.message for finding in findings if not finding.ok]
    assert bad
    for each in bad:
        assert re.search(message, each)


def check(dataset: str, root: Path, original: Original | None = None) -> list[Finding]:
    return check_splits(dataset, partial(open_images, dataset, root), original)


def test_another_label_list_is_found(settings: ImageNetSettings) -> None:
    *_, found = check_imagenet(settings, expected(), {10: "0" * 64})
    assert "not the list of google-research/simclr" in found.message


def test_damage_is_a_finding_and_no_exception(settings: ImageNetSettings, tmp_path: Path) -> None:
    settings.lists[10].write_text("n01_train_0.JPEG\n")
    (listed,) = [finding for finding in check_imagenet(settings) if not finding.ok]
    assert "no image of 1 class" in listed.message
    settings.lists[10].write_text("unknown.JPEG\n")
    (listed,) = [finding for finding in check_imagenet(settings) if not finding.ok]
    assert listed.subject == "10 % list"
    (tmp_path / "val" / "n02").rename(tmp_path / "val" / "n03")
    findings = check_imagenet(settings)
    assert [finding.ok for finding in findings] == [False, False]
    for findings in (check("inat18", tmp_path / "nowhere"), check("voc07", tmp_path / "nowhere")):
        assert [finding.ok for finding in findings] == [False, False]
        assert "no folder" in findings[0].message


def test_a_class_folder_renamed_in_both_splits(settings: ImageNetSettings) -> None:
    """Counts, classes and the agreement of the splits are as before; only the names tell."""
    for split in ("train", "val"):
        (settings.root / split / "n01").rename(settings.root / split / "n09")
    settings.lists[10].write_text("n01_train_0.JPEG\nn02_train_1.JPEG\n")
    plain = expected(labels={}, folders=None)
    assert all(finding.ok for finding in check_imagenet(settings, plain))
    for wanted in (expected(labels={}), expected(folders=None)):
        assert not all(finding.ok for finding in check_imagenet(settings, wanted))


def test_known_labels_of_imagenet_name_their_own_folder() -> None:
    """Sorted wnids put each known label where its folder says; a slip in the table would not."""
    wnids = [name.split("/")[1] for name in IMAGENET.original.labels]
    by_label = [
        wnid for _, wnid in sorted(zip(IMAGENET.original.labels.values(), wnids, strict=True))
    ]
    assert by_label == sorted(wnids)


def test_multi_label_known_labels(tmp_path: Path) -> None:
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (tmp_path / "JPEGImages").mkdir()
    for which, identity in (("trainval", "000005"), ("test", "000001")):
        Image.new("RGB", (4, 4)).save(tmp_path / "JPEGImages" / f"{identity}.jpg")
        for label, name in enumerate(("cat", "dog")):
            (main / f"{name}_{which}.txt").write_text(f"{identity} {label * 2 - 1:2d}\n")
    right = Original(2, 1, 1, {"JPEGImages/000005.jpg": 1})
    assert all(finding.ok for finding in check("voc07", tmp_path, right))
    wrong = right._replace(labels={"JPEGImages/000005.jpg": 0})
    assert [finding.ok for finding in check("voc07", tmp_path, wrong)] == [True, False, True]


def test_inat_counts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 0}],
        "categories": [{"id": 0}],
    }
    for name in ("train2018.json", "val2018.json"):
        (tmp_path / name).write_text(json.dumps(content))
    found = check("inat18", tmp_path, Original(1, 1, 2))
    assert [finding.ok for finding in found] == [True, False]
    assert all("1 images of 1 classes" in finding.message for finding in found)
