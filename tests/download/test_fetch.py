"""Files of the registry: fetched, pinned where no hash is published, and held to their hash."""

import hashlib
import multiprocessing
from pathlib import Path

import pytest
import torch

from e2mc import files
from e2mc.cli import main
from e2mc.config.experiment import Data
from e2mc.data.prepare import prepare
from e2mc.download.fetch import fetch
from e2mc.download.pins import read_pins
from e2mc.download.registry import REGISTRY, PublicFile
from e2mc.errors import E2MCError
from e2mc.models.pickled import read_pickled

ROOT = Path(__file__).parents[2]
WEIGHTS = b"PK weights"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def published(folder: Path, **changes: object) -> PublicFile:
    (folder / "published.pth.tar").write_bytes(WEIGHTS)
    row = {"name": "swav-800", "kind": "checkpoint", "method": "swav", "epochs": 800}
    return PublicFile.model_validate({**row, "url": str(folder / "published.pth.tar"), **changes})


def any_file(path: Path) -> None:
    assert path.exists()


def test_the_first_download_pins_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, pins = published(tmp_path), tmp_path / "checkpoints.lock.csv"
    path = fetch(file, tmp_path / "weights", any_file, pins)
    assert path == tmp_path / "weights" / "swav-800.pth"
    assert path.read_bytes() == WEIGHTS
    assert f"sha256 {SHA256} ({len(WEIGHTS)} bytes) is now pinned in {pins}" in (
        capsys.readouterr().out
    )
    assert pins.read_text() == (
        f"name,sha256,bytes,url\nswav-800,{SHA256},{len(WEIGHTS)},{tmp_path}/published.pth.tar\n"
    )
    fetch(file, tmp_path / "weights", any_file, pins)
    assert not capsys.readouterr().out


def test_a_pinned_hash_is_enforced_on_the_next_download(tmp_path: Path) -> None:
    file, pins = published(tmp_path), tmp_path / "checkpoints.lock.csv"
    fetch(file, tmp_path / "one", any_file, pins)
    (tmp_path / "published.pth.tar").write_bytes(b"PK replaced")
    with pytest.raises(E2MCError) as caught:
        fetch(file, tmp_path / "two", any_file, pins)
    assert "expected 10 bytes, the server offers 11" in str(caught.value)
    assert f"The hash of swav-800 is from {pins}" in str(caught.value)
    (tmp_path / "published.pth.tar").write_bytes(b"PK-weights")
    with pytest.raises(E2MCError, match=f"expected sha256 {SHA256}, found"):
        fetch(file, tmp_path / "two", any_file, pins)
    assert not (tmp_path / "two" / "swav-800.pth").exists()


def test_a_hash_of_the_registry_needs_no_pin(tmp_path: Path) -> None:
    pins = tmp_path / "checkpoints.lock.csv"
    fetch(published(tmp_path, sha256=SHA256), tmp_path, pins=pins)
    assert not pins.exists()
    with pytest.raises(E2MCError, match=rf"expected sha256 {'0' * 64}, found {SHA256}"):
        fetch(published(tmp_path, sha256="0" * 64), tmp_path, pins=pins)


def test_a_file_placed_by_hand_is_pinned_and_then_held_to_it(tmp_path: Path) -> None:
    file, pins = published(tmp_path, url="https://nowhere.invalid/x"), tmp_path / "lock.csv"
    (tmp_path / "swav-800.pth").write_bytes(WEIGHTS)
    fetch(file, tmp_path, any_file, pins)
    assert read_pins(pins)["swav-800"].sha256 == SHA256
    (tmp_path / "swav-800.pth").write_bytes(b"PK changed")
    with pytest.raises(E2MCError, match="has the wrong checksum or size"):
        fetch(file, tmp_path, any_file, pins)


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    original = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path) or original(path))
    file, pins = published(tmp_path), tmp_path / "lock.csv"
    for _ in range(3):
        fetch(file, tmp_path, any_file, pins)
    assert len(hashed) == 1
    (tmp_path / "swav-800.pth").touch()
    fetch(file, tmp_path, any_file, pins)
    assert len(hashed) == 2


def test_a_damaged_file_of_pins_is_named(tmp_path: Path) -> None:
    pins = tmp_path / "lock.csv"
    pins.write_text("name,sha256\nswav-800,abc\n")
    with pytest.raises(E2MCError, match=r"lock.csv is damaged .*name, sha256, bytes, url"):
        fetch(published(tmp_path), tmp_path, any_file, pins)


def test_nothing_is_pinned_without_a_look_inside(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="run `e2mc fetch swav-800` first"):
        fetch(published(tmp_path), tmp_path, pins=tmp_path / "lock.csv")


@pytest.mark.parametrize(
    "content", [b"", b"rate limited", b"\x1f\x8b\x08 compressed", b"PK\x03\x04"]
)
@pytest.mark.parametrize("placed", [False, True])
def test_what_is_no_checkpoint_is_not_pinned(tmp_path: Path, content: bytes, placed: bool) -> None:
    file, pins = published(tmp_path), tmp_path / "lock.csv"
    (tmp_path / "swav-800.pth" if placed else tmp_path / "published.pth.tar").write_bytes(content)
    with pytest.raises(E2MCError, match=r"swav-800\.pth cannot be read as a torch checkpoint"):
        fetch(file, tmp_path, read_pickled, pins)
    assert not pins.exists()
    assert (tmp_path / "swav-800.pth").exists() == placed


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_is_pinned_and_a_cut_one_is_not(tmp_path: Path, zipped: bool) -> None:
    file, pins = published(tmp_path), tmp_path / "lock.csv"
    weights = {"model": {"weight": torch.randn(1000)}}
    source = tmp_path / "published.pth.tar"
    torch.save(weights, source, _use_new_zipfile_serialization=zipped)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(E2MCError, match="cannot be read as a torch checkpoint"):
        fetch(file, tmp_path / "cut", read_pickled, pins)
    assert not pins.exists()
    source.write_bytes(whole)
    path = fetch(file, tmp_path / "whole", read_pickled, pins)
    assert read_pins(pins)["swav-800"].sha256 == hashlib.sha256(whole).hexdigest()
    assert torch.equal(read_pickled(path)["model"]["weight"], weights["model"]["weight"])


def _fetch_in_process(folder: Path, number: int) -> None:
    file = published(folder / str(number), name=f"swav-{number}")
    fetch(file, folder, any_file, folder / "lock.csv")


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


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository with a registry of two lists and an archive that all lie in it."""
    monkeypatch.chdir(tmp_path)
    lines = ["name,kind,url,bytes,sha256"]
    for name, kind, file in (
        ("label-list-1", "label-lists", "1percent.txt"),
        ("label-list-10", "label-lists", "10percent.txt"),
        ("cifar10", "data-set", "cifar-10-python.tar.gz"),
    ):
        source = tmp_path / "published" / file
        source.parent.mkdir(exist_ok=True)
        source.write_text(f"n01440764_{name}.JPEG\n")
        lines.append(f"{name},{kind},{source},{source.stat().st_size},{files.sha256(source)}")
    REGISTRY.parent.mkdir()
    REGISTRY.write_text("\n".join(lines))
    return tmp_path


def test_the_command_line_fetches_all_files_of_a_kind(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fetch", "label-lists", "--folder", "data"])
    assert capsys.readouterr().out == "data/1percent.txt\ndata/10percent.txt\n"
    assert Path("data/1percent.txt").read_text() == "n01440764_label-list-1.JPEG\n"
    Path("data/1percent.txt").write_text("n01440764_2.JPEG\n")
    with pytest.raises(SystemExit, match=r"1percent\.txt has the wrong checksum or size"):
        main(["fetch", "label-lists", "--folder", "data"])


def test_cifar10_is_held_to_its_hash(rows: Path) -> None:
    (rows / "published/cifar-10-python.tar.gz").write_text("n01440764_CIFAR10.JPEG\n")
    with pytest.raises(E2MCError, match="expected sha256"):
        prepare(Data(prepare="cifar10"))
    assert not list((rows / "data/cifar10").iterdir())
