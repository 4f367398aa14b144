import csv
import hashlib
import multiprocessing
from pathlib import Path

import pytest

from e2mc import files
from e2mc.cli import main
from e2mc.config.experiment import Data
from e2mc.data.prepare import prepare
from e2mc.download import registry as checkpoints
from e2mc.download.registry import Source, fetch, fetch_label_lists, find, load_registry, read_pins
from e2mc.errors import E2MCError

ROOT = Path(__file__).parents[2]
COLUMNS = tuple(checkpoints.Checkpoint.model_fields)
WEIGHTS = b"PK weights"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def registry_of(folder: Path, **changes: object) -> Path:
    weights = folder / "published.pth.tar"
    weights.write_bytes(WEIGHTS)
    row = {
        "name": "swav-800",
        "method": "swav",
        "epochs": 800,
        "batch_size": 4096,
        "url": weights,
        "container": "flat",
        **changes,
    }
    path = folder / "checkpoints.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, *(set(row) - set(COLUMNS))])
        writer.writeheader()
        writer.writerow(row)
    return path


def test_the_shipped_registry_has_the_four_published_files() -> None:
    registry = load_registry(ROOT / "config/checkpoints.csv")
    assert {name: (one.method, one.epochs, one.batch_size) for name, one in registry.items()} == {
        "vicreg-1000": ("vicreg", 1000, 2048),
        "swav-800": ("swav", 800, 4096),
        "swav-400": ("swav", 400, 256),
        "simsiam-100": ("simsiam", 100, 256),
    }
    assert all(one.url.startswith("https://dl.fbaipublicfiles.com/") for one in registry.values())


def test_columns_are_those_of_the_model() -> None:
    header = (ROOT / "config/checkpoints.csv").read_text().splitlines()[0]
    assert tuple(header.split(",")) == COLUMNS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "many"}, "line 2: epochs"),
        ({"epochs": ""}, "line 2: epochs Field required"),
        ({"method": "moco"}, "line 2: method"),
        ({"container": "zip"}, "line 2: container"),
        ({"sha256": "abc"}, "line 2: sha256"),
        ({"bytes": 0}, "line 2: bytes"),
        ({"licens": "MIT"}, "unknown key 'licens': did you mean 'licence'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(E2MCError, match=message):
        load_registry(registry_of(tmp_path, **changes))


def test_a_name_taken_twice_and_a_missing_registry(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    lines = registry.read_text().splitlines()
    registry.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(E2MCError, match="line 3: the name 'swav-800' is taken"):
        load_registry(registry)
    with pytest.raises(E2MCError, match="cannot read"):
        load_registry(tmp_path / "none.csv")


def test_an_unknown_name_brings_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=r"no checkpoint 'swav-80' .* did you mean swav-800"):
        find("swav-80", registry_of(tmp_path))


def test_the_first_download_pins_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, lock = registry_of(tmp_path), tmp_path / "checkpoints.lock.csv"
    path = fetch("swav-800", tmp_path / "weights", registry, lock)
    assert path == tmp_path / "weights" / "swav-800.pth"
    assert path.read_bytes() == WEIGHTS
    assert f"sha256 {SHA256} ({len(WEIGHTS)} bytes) is now pinned in {lock}" in (
        capsys.readouterr().out
    )
    assert lock.read_text() == (
        f"name,sha256,bytes,url\nswav-800,{SHA256},{len(WEIGHTS)},{tmp_path}/published.pth.tar\n"
    )
    fetch("swav-800", tmp_path / "weights", registry, lock)
    assert not capsys.readouterr().out


def test_a_pinned_hash_is_enforced_on_the_next_download(tmp_path: Path) -> None:
    registry, lock = registry_of(tmp_path), tmp_path / "checkpoints.lock.csv"
    fetch("swav-800", tmp_path / "one", registry, lock)
    (tmp_path / "published.pth.tar").write_bytes(b"PK replaced")
    with pytest.raises(E2MCError) as caught:
        fetch("swav-800", tmp_path / "two", registry, lock)
    assert "expected 10 bytes, the server offers 11" in str(caught.value)
    assert f"The hash of swav-800 is from {lock}" in str(caught.value)
    (tmp_path / "published.pth.tar").write_bytes(b"PK-weights")
    with pytest.raises(E2MCError, match=f"expected sha256 {SHA256}, found"):
        fetch("swav-800", tmp_path / "two", registry, lock)
    assert not (tmp_path / "two" / "swav-800.pth").exists()


def test_a_hash_of_the_registry_needs_no_pin(tmp_path: Path) -> None:
    lock = tmp_path / "checkpoints.lock.csv"
    fetch("swav-800", tmp_path, registry_of(tmp_path, sha256=SHA256), lock)
    assert not lock.exists()
    with pytest.raises(E2MCError, match=rf"expected sha256 {'0' * 64}, found {SHA256}"):
        fetch("swav-800", tmp_path, registry_of(tmp_path, sha256="0" * 64), lock)


def test_a_file_placed_by_hand_is_pinned_and_then_held_to_it(tmp_path: Path) -> None:
    registry, lock = registry_of(tmp_path, url="https://nowhere.invalid/x"), tmp_path / "lock.csv"
    (tmp_path / "swav-800.pth").write_bytes(WEIGHTS)
    fetch("swav-800", tmp_path, registry, lock)
    assert read_pins(lock)["swav-800"].sha256 == SHA256
    (tmp_path / "swav-800.pth").write_bytes(b"PK changed")
    with pytest.raises(E2MCError, match="is not the file it should be"):
        fetch("swav-800", tmp_path, registry, lock)


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    original = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path) or original(path))
    registry, lock = registry_of(tmp_path), tmp_path / "lock.csv"
    for _ in range(3):
        fetch("swav-800", tmp_path, registry, lock)
    assert len(hashed) == 1
    (tmp_path / "swav-800.pth").touch()
    fetch("swav-800", tmp_path, registry, lock)
    assert len(hashed) == 2


def test_a_damaged_lock_file_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock.csv"
    lock.write_text("name,sha256\nswav-800,abc\n")
    with pytest.raises(E2MCError, match=r"lock.csv is damaged .*name, sha256, bytes, url"):
        fetch("swav-800", tmp_path, registry_of(tmp_path), lock)


def _fetch_in_process(folder: Path, number: int) -> None:
    registry = registry_of(folder / str(number), name=f"swav-{number}")
    fetch(f"swav-{number}", folder, registry, folder / "lock.csv")


def test_fetches_at_once_lose_no_pin(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        processes.append(context.Process(target=_fetch_in_process, args=(tmp_path, number)))
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 4
    assert list(read_pins(tmp_path / "lock.csv")) == [f"swav-{number}" for number in range(4)]


def test_label_lists_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {}
    for percent in (1, 10):
        source = tmp_path / f"list{percent}"
        source.write_text(f"n01440764_{percent}.JPEG\n")
        digest, size = files.sha256(source), source.stat().st_size
        lists[percent] = Source(str(source), digest, size)
    monkeypatch.setattr(checkpoints, "LABEL_LISTS", lists)
    fetched = fetch_label_lists(tmp_path / "imagenet")
    assert fetched[10] == tmp_path / "imagenet" / "10percent.txt"
    assert fetched[1].read_text() == "n01440764_1.JPEG\n"
    fetched[1].write_text("n01440764_2.JPEG\n")
    with pytest.raises(E2MCError, match=r"1percent.txt is not the file it should be"):
        fetch_label_lists(tmp_path / "imagenet")


def test_the_command_line_fetches_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "list"
    source.write_text("n01440764_1.JPEG\n")
    offered = {1: Source(str(source), files.sha256(source), source.stat().st_size)}
    monkeypatch.setattr(checkpoints, "LABEL_LISTS", offered)
    main(["fetch", "label-lists", "--folder", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path}/1percent.txt\n"


def test_cifar10_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "source.tar.gz"
    archive.write_bytes(b"not CIFAR-10")
    offered = checkpoints.CIFAR10._replace(url=str(archive), mirrors=())
    monkeypatch.setattr(checkpoints, "CIFAR10", offered)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(E2MCError, match="expected 170498071 bytes"):
        prepare(Data(prepare="cifar10"))
    assert not list((tmp_path / "data/cifar10").iterdir())
