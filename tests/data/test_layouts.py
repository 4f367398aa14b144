"""Every layout is read as its original is, and every damage is one clear message."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2mc.config.settings import ImageNetSettings
from e2mc.data.decode import decode
from e2mc.data.image_set import open_images
from e2mc.data.imagenet import open_imagenet, open_tree
from e2mc.data.inat18 import open_inat18
from e2mc.data.labels import label_subset
from e2mc.data.voc07 import open_voc07
from e2mc.errors import E2MCError


def write_image(path: Path, value: int = 100, size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value // 2, 0)).save(path)


def class_folders(root: Path) -> ImageNetSettings:
    for split in ("train", "val"):
        for wnid in ("n02", "n01"):
            for number in (2, 10, 1):
                write_image(root / split / wnid / f"{wnid}_{split}_{number}.JPEG")
    return ImageNetSettings(root=root, lists={}, validation_fraction=None)


def test_symbolic_links_that_lead_to_themselves_are_named(tmp_path: Path) -> None:
    settings = class_folders(tmp_path)
    image = tmp_path / "train/n01/loop.png"
    image.symlink_to(image)
    with pytest.raises(E2MCError, match=r"cannot read image .*loop.png: Too many levels"):
        decode(image)
    image.unlink()
    (tmp_path / "train/n01/up").symlink_to(tmp_path / "train")
    assert len(open_imagenet(settings, "train")) == 6, "a link to a folder above is no image"
    loop = tmp_path / "train/loop"
    loop.symlink_to(loop)
    with pytest.raises(E2MCError, match=r"cannot read .*train/loop: Too many levels .*repair it"):
        open_imagenet(settings, "train")


def test_files_that_are_no_images_by_name_are_left_out_aloud(tmp_path, capsys) -> None:
    settings = class_folders(tmp_path)
    whole = open_imagenet(settings, "train").names
    assert capsys.readouterr().err == ""
    for name in ("a.gif", "b.HEIC", "c.txt", ".hidden", "d.png"):
        (tmp_path / "train" / "n02" / name).touch()
    for _ in range(2):
        assert {*open_imagenet(settings, "train").names} == {*whole, "train/n02/d.png"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WARNING: 3 file(s) in the class folders of {tmp_path / 'train'} are")
    assert "n02/a.gif, n02/b.HEIC, n02/c.txt" in line


def inat_json(root: Path, split: str, categories: list[int], labels: list[int]) -> Path:
    names = [f"train_val2018/Aves/{label}/{split}{i}.jpg" for i, label in enumerate(labels)]
    for name in names:
        write_image(root / name)
    content = {
        "images": [{"id": 70 + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 70 + i, "category_id": label}
            for i, label in reversed(list(enumerate(labels)))
        ],
        "categories": [{"id": identity, "name": f"species {identity}"} for identity in categories],
    }
    path = root / f"{split}2018.json"
    path.write_text(json.dumps(content))
    return path


def inat(root: Path) -> Path:
    inat_json(root, "val", [0, 1, 2, 10], [10, 0])
    return inat_json(root, "train", [10, 2, 0, 1], [2, 10, 0, 1, 1])


def voc(root: Path) -> Path:
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for which, ids in (("trainval", ("000005", "000007")), ("test", ("000001", "000002"))):
        for identity in ids:
            write_image(root / "JPEGImages" / f"{identity}.jpg")
        (main / f"{which}.txt").write_text("".join(f"{identity}\n" for identity in ids))
        (main / f"dog_{which}.txt").write_text(f"{ids[0]} -1\n{ids[1]}  1\n")
        (main / f"cat_{which}.txt").write_text(f"{ids[0]}  0\n{ids[1]} -1\n")
    return root


def test_imagenet_labels_are_sorted_class_folders(tmp_path: Path) -> None:
    settings = class_folders(tmp_path)
    (tmp_path / "train" / "n01" / "notes.txt").write_text("not an image")
    train = open_imagenet(settings, "train")
    assert train.classes == ("n01", "n02")
    assert train.names[:3] == tuple(f"train/n01/n01_train_{n}.JPEG" for n in (1, 10, 2))
    np.testing.assert_array_equal(train.labels, [0, 0, 0, 1, 1, 1])
    assert open_imagenet(settings, "test").names[0] == "val/n01/n01_val_1.JPEG"
    assert decode(train.path(0)).size == (9, 7)


@pytest.mark.parametrize(("folders", "opened"), [(("val",), "val"), (("val", "test"), "test")])
def test_any_tree_is_tested_on_test_else_val(
    tmp_path: Path, folders: tuple[str, ...], opened: str
) -> None:
    for number, folder in enumerate(("train", *folders)):
        for name in ("rose", "daisy"):
            for image in range(number + 1):
                write_image(tmp_path / folder / name / f"{image}.png")
    train, test = (open_images("flowers", tmp_path, split) for split in ("train", "test"))
    assert train.names == ("train/daisy/0.png", "train/rose/0.png")
    assert train.classes == test.classes == ("daisy", "rose")
    assert {name.split("/")[0] for name in test.names} == {opened}
    assert test.labels.tolist() == [0] * (len(test) // 2) + [1] * (len(test) // 2)
    (tmp_path / opened / "rose").rename(tmp_path / opened / "tulip")
    for split in ("train", "test"):
        with pytest.raises(E2MCError, match=f"{opened}.* have different class folders"):
            open_tree(tmp_path, split)


def test_validation_part_never_opens_val_and_keeps_listed_images(tmp_path: Path) -> None:
    for wnid in ("n01", "n02"):
        for number in range(100):
            write_image(tmp_path / "train" / wnid / f"{wnid}_{number}.JPEG")
    listed = [f"n01_{number}.JPEG" for number in range(50)]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    settings = ImageNetSettings(
        root=tmp_path, lists={10: tmp_path / "list.txt"}, validation_fraction=0.3
    )
    train, held_out = (open_imagenet(settings, split) for split in ("train", "test"))
    assert not set(train.names) & set(held_out.names)
    assert len(train) + len(held_out) == 200
    assert 25 <= len(held_out) <= 65  # 0.3 of the 150 images that are on no list
    assert len(label_subset(tmp_path / "list.txt", train)) == 50
    (tmp_path / "train" / "n02" / "n02_100.JPEG").write_bytes(
        (tmp_path / "train/n01/n01_0.JPEG").read_bytes()
    )
    assert set(held_out.names) <= set(open_imagenet(settings, "test").names)


def test_label_list_gives_indices_in_its_own_order(tmp_path: Path) -> None:
    train = open_imagenet(class_folders(tmp_path), "train")
    (tmp_path / "list.txt").write_text("n02_train_1.JPEG\nn01_train_10.JPEG\n")
    np.testing.assert_array_equal(label_subset(tmp_path / "list.txt", train), [3, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n01_train_1.JPEG\nn01_77.JPEG\n", "1 of 2 files.*n01_77.JPEG"),
        ("n01_train_1.JPEG\nn01_train_1.JPEG\n", "more than once: n01_train_1.JPEG"),
        ("\n\n", "is empty"),
        (None, "cannot read the label list.*No such file"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_bad_label_lists(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    train = open_imagenet(class_folders(tmp_path), "train")
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(E2MCError, match=message) as caught:
        label_subset(path, train)
    assert str(path) in str(caught.value)


def test_label_list_with_file_names_that_repeat_across_classes(tmp_path: Path) -> None:
    for category in ("cat", "dog"):
        write_image(tmp_path / "train" / category / "1.png")
    train = open_imagenet(
        ImageNetSettings(root=tmp_path, lists={}, validation_fraction=None), "train"
    )
    path = tmp_path / "list.txt"
    path.write_text("1.png\n")
    with pytest.raises(E2MCError, match="several class folders"):
        label_subset(path, train)
    path.write_text("dog/1.png\n")
    np.testing.assert_array_equal(label_subset(path, train), [1])


def test_damaged_class_folders(tmp_path: Path) -> None:
    settings = class_folders(tmp_path)
    (tmp_path / "val" / "n02").rename(tmp_path / "val" / "n03")
    for split in ("train", "test"):
        with pytest.raises(E2MCError, match="different class folders: n02, n03"):
            open_imagenet(settings, split)
    (tmp_path / "val" / "n03").rename(tmp_path / "val" / "n02")
    for image in (tmp_path / "train" / "n01").iterdir():
        image.unlink()
    with pytest.raises(E2MCError, match="n01 holds no image"):
        open_imagenet(settings, "train")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(E2MCError, match=r"no folder .*train"):
        open_imagenet(settings, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(E2MCError, match=r"no class folders.*<image>$"):
        open_imagenet(settings, "train")
    (tmp_path / "train" / "ILSVRC2012_val_00000001.JPEG").touch()
    with pytest.raises(E2MCError, match="validation archive is so"):
        open_imagenet(settings, "train")


def test_truncated_and_foreign_images_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.JPEG"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(E2MCError, match=r"cannot decode image .*a\.JPEG.*truncated"):
        decode(path)
    path.write_bytes(b"no image at all")
    with pytest.raises(E2MCError, match=r"a\.JPEG"):
        decode(path)
    with pytest.raises(E2MCError, match=r"b\.JPEG does not exist"):
        decode(tmp_path / "b.JPEG")


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_every_jpeg_is_decoded_as_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 5)).save(tmp_path / "a.jpg")
    assert decode(tmp_path / "a.jpg").mode == "RGB"


def test_inat_label_is_the_rank_of_the_category_id(tmp_path: Path) -> None:
    inat(tmp_path)
    train = open_inat18(tmp_path, "train")
    np.testing.assert_array_equal(train.labels, [2, 3, 0, 1, 1])
    assert train.classes == ("species 0", "species 1", "species 2", "species 10")
    assert train.names[0] == "train_val2018/Aves/2/train0.jpg"
    np.testing.assert_array_equal(open_inat18(tmp_path, "test").labels, [3, 0])


def damage_missing_image(path: Path, content: dict) -> None:
    (path.parent / content["images"][1]["file_name"]).unlink()


def damage_category(path: Path, content: dict) -> None:
    content["annotations"][0]["category_id"] = 99


def damage_unlabelled(path: Path, content: dict) -> None:
    del content["annotations"][0]


def damage_twice(path: Path, content: dict) -> None:
    content["annotations"].append(content["annotations"][0])


def damage_other_categories(path: Path, content: dict) -> None:
    content["categories"].append({"id": 11})


def damage_structure(path: Path, content: dict) -> None:
    content.pop("annotations")


def damage_field(path: Path, content: dict) -> None:
    content["images"][0].pop("file_name")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing_image, r"1 image\(s\) that are not in .*train1\.jpg"),
        (damage_category, "unknown categories: 99"),
        (damage_unlabelled, r"1 image\(s\) without annotation: .*train4\.jpg"),
        (damage_twice, "image id 74 has several annotations"),
        (damage_other_categories, "different categories: 11"),
        (damage_structure, "no list 'annotations'"),
        (damage_field, "entries of 'images' lack file_name"),
    ],
)
def test_damaged_inat(tmp_path: Path, damage, message: str) -> None:
    path = inat(tmp_path)
    content = json.loads(path.read_text())
    damage(path, content)
    path.write_text(json.dumps(content))
    with pytest.raises(E2MCError, match=message) as caught:
        open_inat18(tmp_path, "train")
    assert "2018.json" in str(caught.value)


def test_inat_without_root_or_json(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=r"train2018\.json does not exist"):
        open_inat18(tmp_path, "train")
    with pytest.raises(E2MCError, match="no folder"):
        open_inat18(tmp_path / "nowhere", "train")


def test_voc_reads_one_or_two_blanks_and_difficult(tmp_path: Path) -> None:
    train = open_voc07(voc(tmp_path), "train")
    assert train.classes == ("cat", "dog")
    assert train.names == ("JPEGImages/000005.jpg", "JPEGImages/000007.jpg")
    np.testing.assert_array_equal(train.labels, [[0, -1], [-1, 1]])
    assert train.labels.dtype == np.int8
    assert open_voc07(tmp_path, "test").names[1] == "JPEGImages/000002.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("000005\t-1\n000007  1\n", "line 1"),
        ("000005 -1\n000007   1\n", "line 2"),
        ("000005 -1\n000007  2\n", "line 2"),
        ("000005 -1\n000007\n", "line 2"),
        ("", "is empty"),
        ("000005 -1\n", "does not list the images of cat_trainval.txt: 000007"),
        ("000007 -1\n000005  1\n", "their order differs"),
        ("000005 -1\n000005 -1\n", "twice"),
    ],
)
def test_damaged_voc_class_file(tmp_path: Path, content: str, message: str) -> None:
    path = voc(tmp_path) / "ImageSets" / "Main" / "dog_trainval.txt"
    path.write_text(content)
    with pytest.raises(E2MCError, match=message) as caught:
        open_voc07(tmp_path, "train")
    assert str(path) in str(caught.value)


def test_incomplete_voc(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "JPEGImages" / "000007.jpg").unlink()
    with pytest.raises(E2MCError, match=r"000007\.jpg"):
        open_voc07(tmp_path, "train")
    (tmp_path / "ImageSets" / "Main" / "dog_test.txt").unlink()
    with pytest.raises(E2MCError, match="dog has only one of"):
        open_voc07(tmp_path, "test")
    with pytest.raises(E2MCError, match="no folder"):
        open_voc07(tmp_path / "VOC2012", "test")
