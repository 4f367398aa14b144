"""The official checkpoints and other public files that experiments start from.

No hash of an official checkpoint is published. The first one measured is therefore pinned in
``config/checkpoints.lock.csv`` and enforced ever after.
"""

import csv
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from e2mc import files
from e2mc.config.methods import Method
from e2mc.config.strict import Strict
from e2mc.download.file import download
from e2mc.errors import E2MCError
from e2mc.lock import locked

REGISTRY = Path("config/checkpoints.csv")
LOCK = Path("config/checkpoints.lock.csv")
_LOCK_COLUMNS = ("name", "sha256", "bytes", "url")
_HASH = r"^[0-9a-f]{64}$"


class Checkpoint(Strict):
    """One row of the registry."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """What `bases.<base>.checkpoint` calls it."""
    method: Method
    """The method that trained it."""
    epochs: int = Field(ge=1)
    """Epochs it was trained for."""
    batch_size: int = Field(ge=1)
    """Images per step it was trained with."""
    url: str = Field(min_length=1)
    """Where it is published: http(s), file, or a plain path."""
    mirrors: tuple[str, ...] = ()
    """Further places, separated by blanks in the file."""
    bytes: int | None = Field(None, ge=1)
    """Length, where it is published."""
    sha256: str | None = Field(None, pattern=_HASH)
    """Hash, where it is published."""
    licence: str = ""
    """Of the weights."""
    container: Literal["epoch+model+optimizer", "flat", "epoch+arch+state_dict+optimizer"]
    """Entries around the state dict, if any."""

    def path(self, folder: Path | str) -> Path:
        """Where `fetch` puts it, and where it is to be placed by hand."""
        return Path(folder) / f"{self.name}.pth"


class Pin(NamedTuple):
    """What a checkpoint was when it was first seen here."""

    sha256: str
    bytes: int
    url: str


class Source(NamedTuple):
    """A public file whose hash is known."""

    url: str
    sha256: str
    size: int
    mirrors: tuple[str, ...] = ()


_SIMCLR = "https://raw.githubusercontent.com/google-research/simclr/master/imagenet_subsets"
LABEL_LISTS = {
    1: Source(
        f"{_SIMCLR}/1percent.txt",
        "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
        260_323,
    ),
    10: Source(
        f"{_SIMCLR}/10percent.txt",
        "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
        2_603_168,
    ),
}
"""Per cent of ImageNet's labels -> SimCLR's list (google-research/simclr, 383d414)."""

CIFAR10 = Source(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    170_498_071,
    ("https://storage.googleapis.com/tensorflow/tf-keras-datasets/cifar-10-python.tar.gz",),
)
"""The official archive; its hash as in Keras, whose mirror it is."""


def load_registry(path: Path | str = REGISTRY) -> dict[str, Checkpoint]:
    """Read the registry.

    Raises:
        E2MCError: missing, an unknown column, a duplicate name or an impossible value, with its
            line.
    """
    registry: dict[str, Checkpoint] = {}
    for number, row in enumerate(_rows(Path(path)), start=2):
        content: dict[str, object] = {key: value for key, value in row.items() if value}
        content["mirrors"] = tuple(str(row.get("mirrors") or "").split())
        try:
            checkpoint = Checkpoint.model_validate(content)
        except ValidationError as error:
            mistake = error.errors()[0]
            column = ".".join(str(part) for part in mistake["loc"])
            message = mistake["msg"].removeprefix("Value error, ")
            raise E2MCError(f"{path}, line {number}: {column} {message}".strip()) from error
        if checkpoint.name in registry:
            raise E2MCError(f"{path}, line {number}: the name '{checkpoint.name}' is taken")
        registry[checkpoint.name] = checkpoint
    return registry


def find(name: str, registry: Path | str = REGISTRY) -> Checkpoint:
    """The checkpoint of that name.

    Raises:
        E2MCError: there is none; names the nearest ones.
    """
    known = load_registry(registry)
    if name not in known:
        nearest = get_close_matches(name, known, n=3, cutoff=0.6) or list(known)
        raise E2MCError(
            f"no checkpoint '{name}' in {registry}; did you mean {' or '.join(nearest)}?"
        )
    return known[name]


def fetch(
    name: str,
    folder: Path | str,
    registry: Path | str = REGISTRY,
    lock: Path | str = LOCK,
) -> Path:
    """Download a checkpoint, or find it in place, and hold it to its hash.

    The hash is that of the registry, else the one pinned in ``lock``; if there is neither, the
    measured one is pinned, and said so. A file is hashed once as long as it does not change.

    Returns:
        ``folder/<name>.pth``.

    Raises:
        E2MCError: unknown name, wrong hash or length, or no source gave the file.
    """
    checkpoint = find(name, registry)
    path = checkpoint.path(folder)
    pin = read_pins(lock).get(name)
    sha256, size = checkpoint.sha256, checkpoint.bytes
    if sha256 is None and pin is not None:
        sha256, size = pin.sha256, pin.bytes
    remedy = (
        f"\nThe hash of {name} is from {lock if pin else registry}. If the publisher replaced the "
        "file and you trust the new one, delete it there."
    )
    if not path.exists():
        try:
            download(checkpoint.url, path, sha256=sha256, size=size, mirrors=checkpoint.mirrors)
        except E2MCError as error:
            raise E2MCError(f"{error}{remedy if 'expected' in str(error) else ''}") from error
    measured = Pin(_hash_once(path), path.stat().st_size, checkpoint.url)
    if sha256 is None:
        pin = _pin(name, measured, Path(lock))
        sha256, size = pin.sha256, pin.bytes
    if measured.sha256 != sha256 or size not in (None, measured.bytes):
        raise E2MCError(
            f"{path} is not the file it should be: expected sha256 {sha256}, found "
            f"{measured.sha256} ({measured.bytes} bytes). Move it away to have it downloaded."
            f"{remedy}"
        )
    return path


def fetch_label_lists(folder: Path | str) -> dict[int, Path]:
    """SimCLR's lists of 1 and 10 % of ImageNet's training images, verified.

    Returns:
        Per cent -> ``folder/1percent.txt``, ``folder/10percent.txt``.
    """
    return {
        percent: _fetch(source, Path(folder) / f"{percent}percent.txt")
        for percent, source in LABEL_LISTS.items()
    }


def download_cifar10(folder: Path | str) -> Path:
    """The official CIFAR-10 archive (Python version), verified.

    Returns:
        ``folder/cifar-10-python.tar.gz``; it is not unpacked.
    """
    return _fetch(CIFAR10, Path(folder) / "cifar-10-python.tar.gz")


def read_pins(lock: Path | str = LOCK) -> dict[str, Pin]:
    """Pinned checkpoints by name; none if there is no such file yet."""
    if not Path(lock).exists():
        return {}
    try:
        return {
            row["name"]: Pin(row["sha256"], int(row["bytes"]), row["url"])
            for row in _rows(Path(lock))
        }
    except (KeyError, ValueError, TypeError) as error:
        raise E2MCError(
            f"{lock} is damaged ({error}); its columns are {', '.join(_LOCK_COLUMNS)}"
        ) from error


def _fetch(source: Source, path: Path) -> Path:
    return download(
        source.url, path, sha256=source.sha256, size=source.size, mirrors=source.mirrors
    )


def _pin(name: str, pin: Pin, lock: Path) -> Pin:
    """Record ``pin`` unless another process was faster; return what is recorded."""
    with locked(lock.with_name(f".{lock.name}.lock")):
        pins = read_pins(lock)
        if name in pins:
            return pins[name]
        pins[name] = pin
        with files.atomic_write(lock) as temporary:
            _write_pins(temporary, pins)
    print(
        f"{name}: no hash is published. Its sha256 {pin.sha256} ({pin.bytes} bytes) is now pinned "
        f"in {lock} and enforced from here on; commit that file to hold others to it."
    )
    return pin


def _write_pins(path: Path, pins: dict[str, Pin]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_LOCK_COLUMNS)
        writer.writerows((name, *pin) for name, pin in sorted(pins.items()))


def _hash_once(path: Path) -> str:
    """The file's sha256, kept beside it until its size or time changes."""
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    record = path.with_name(f".{path.name}.verified")
    try:
        known = files.read_json(record)
        if known["state"] == state:
            return str(known["sha256"])
    except (E2MCError, KeyError, TypeError):
        pass
    measured = files.sha256(path)
    with suppress(E2MCError):  # a folder that only others may write: hash again next time
        files.write_json(record, {"state": state, "sha256": measured})
    return measured


def _rows(path: Path) -> Iterable[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise E2MCError(f"cannot read {path}: {error}") from error
