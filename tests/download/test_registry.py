"""The registry of public files: one CSV, read strictly."""

import csv
from pathlib import Path

import pytest

from e2mc.config.experiment import ImageNetData
from e2mc.download.registry import (
    REGISTRY,
    PublicFile,
    find,
    find_checkpoint,
    label_list_hashes,
    load_registry,
)
from e2mc.errors import E2MCError

ROOT = Path(__file__).parents[2]
COLUMNS = tuple(PublicFile.model_fields)


def registry_of(folder: Path, **changes: object) -> Path:
    row = {
        "name": "swav-800",
        "kind": "checkpoint",
        "method": "swav",
        "epochs": 800,
        "url": "https://nowhere.invalid/swav.pth.tar",
        **changes,
    }
    path = folder / "downloads.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, *(set(row) - set(COLUMNS))])
        writer.writeheader()
        writer.writerow(row)
    return path


def test_the_shipped_registry_has_the_four_published_checkpoints() -> None:
    registry = load_registry(ROOT / REGISTRY)
    published = [one for one in registry.values() if one.kind == "checkpoint"]
    assert {one.name: (one.method, one.epochs) for one in published} == {
        "vicreg-1000": ("vicreg", 1000),
        "swav-800": ("swav", 800),
        "swav-400": ("swav", 400),
        "simsiam-100": ("simsiam", 100),
    }
    assert all(one.url.startswith("https://dl.fbaipublicfiles.com/") for one in published)


def test_the_label_lists_are_where_an_experiment_looks_for_them() -> None:
    found = [one.path("data/imagenet") for one in find("label-lists", ROOT / REGISTRY)]
    assert found == list(ImageNetData().lists.values())
    hashes = label_list_hashes(ROOT / REGISTRY)
    assert list(hashes) == list(ImageNetData().lists)
    assert hashes[1].startswith("71e82a48")


def test_cifar10_is_one_archive_with_a_mirror() -> None:
    (archive,) = find("cifar10", ROOT / REGISTRY)
    assert archive.path("data/cifar10") == Path("data/cifar10/cifar-10-python.tar.gz")
    assert len(archive.mirrors) == 1
    assert archive.bytes == 170_498_071


def test_columns_are_those_of_the_model() -> None:
    header = (ROOT / REGISTRY).read_text().splitlines()[0]
    assert tuple(header.split(",")) == COLUMNS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "many"}, "line 2: epochs"),
        ({"epochs": ""}, "line 2: .*a checkpoint needs `method` and `epochs`"),
        ({"kind": "zip"}, "line 2: kind"),
        ({"kind": "data-set"}, "line 2: .*needs its published `sha256`"),
        ({"sha256": "abc"}, "line 2: sha256"),
        ({"bytes": 0}, "line 2: bytes"),
        ({"licens": "MIT"}, "unknown key 'licens': did you mean 'licence'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(E2MCError, match=message):
        load_registry(registry_of(tmp_path, **changes))


def test_a_name_taken_twice(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    lines = registry.read_text().splitlines()
    registry.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(E2MCError, match="line 3: the name 'swav-800' is taken"):
        load_registry(registry)


def test_without_a_registry_it_is_said_where_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(E2MCError, match=r"Run `e2mc` in the root of the repository"):
        find("swav-800")


def test_an_unknown_name_brings_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=r"no 'swav-80'; did you mean swav-800"):
        find("swav-80", registry_of(tmp_path))


def test_a_data_set_is_no_checkpoint() -> None:
    with pytest.raises(E2MCError, match=r"no 'cifar10'; did you mean vicreg-1000"):
        find_checkpoint("cifar10", ROOT / REGISTRY)
