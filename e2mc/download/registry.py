"""The public files that experiments start from: one row each in ``config/downloads.csv``.

The label lists are those of google-research/simclr at 383d414, measured; the hash and the mirror
of CIFAR-10 are Keras's; length and hash of Tiny ImageNet are those that several public
repositories record. No hash of an official checkpoint is published, see `e2mc.download.pins`.
"""

import csv
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from e2mc.config.strict import Strict
from e2mc.errors import E2MCError

REGISTRY = Path("config/downloads.csv")
"""Relative to the root of the repository, as `data/` and `results/` are."""

_LABEL_LIST = "label-list-"


class PublicFile(Strict):
    """One row of the registry."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """What `e2mc fetch` calls it and, for a checkpoint, `bases.<base>.checkpoint`."""
    kind: Literal["checkpoint", "label-lists", "data-set"]
    """An official checkpoint, one of SimCLR's lists (`label-list-<per cent>`), or an archive."""
    method: str | None = None
    """The method that trained a checkpoint."""
    epochs: int | None = Field(None, ge=1)
    """Epochs that a checkpoint was trained for."""
    url: str = Field(min_length=1)
    """Where it is published: http(s), file, or a plain path."""
    mirrors: tuple[str, ...] = ()
    """Further places, separated by blanks in the file."""
    bytes: int | None = Field(None, ge=1)
    """Length, where it is published."""
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Hash, where it is published."""
    licence: str = ""
    """Of the content, where one is stated."""

    @model_validator(mode="after")
    def _complete_for_its_kind(self) -> "PublicFile":
        if self.kind == "checkpoint":
            if self.method is None or self.epochs is None:
                raise ValueError("a checkpoint needs `method` and `epochs`")
        elif self.sha256 is None:
            raise ValueError(f"a row of kind {self.kind} needs its published `sha256`")
        return self

    def path(self, folder: Path | str) -> Path:
        """Where `fetch` puts it, and where it is to be placed by hand."""
        if self.kind == "checkpoint":
            return Path(folder) / f"{self.name}.pth"
        return Path(folder) / PurePosixPath(urlsplit(self.url).path).name


def load_registry(path: Path | str = REGISTRY) -> dict[str, PublicFile]:
    """Read the registry.

    Raises:
        E2MCError: missing, an unknown column, a duplicate name or an impossible value, with its
            line.
    """
    registry: dict[str, PublicFile] = {}
    for number, row in enumerate(read_rows(Path(path)), start=2):
        content: dict[str, object] = {key: value for key, value in row.items() if value}
        content["mirrors"] = tuple(str(row.get("mirrors") or "").split())
        try:
            known = PublicFile.model_validate(content)
        except ValidationError as error:
            mistake = error.errors()[0]
            column = ".".join(str(part) for part in mistake["loc"])
            message = mistake["msg"].removeprefix("Value error, ")
            raise E2MCError(f"{path}, line {number}: {column} {message}") from error
        if known.name in registry:
            raise E2MCError(f"{path}, line {number}: the name '{known.name}' is taken")
        registry[known.name] = known
    return registry


def find(name: str, registry: Path | str = REGISTRY) -> list[PublicFile]:
    """The file of that name, or all files of that kind.

    Raises:
        E2MCError: there is none; names the nearest ones.
    """
    known = load_registry(registry)
    of_kind = [one for one in known.values() if one.kind == name]
    return of_kind or [_named(name, known, registry)]


def find_checkpoint(name: str, registry: Path | str = REGISTRY) -> PublicFile:
    """The checkpoint of that name.

    Raises:
        E2MCError: there is none; names the nearest ones.
    """
    known = {key: one for key, one in load_registry(registry).items() if one.kind == "checkpoint"}
    return _named(name, known, registry)


def _named(name: str, known: dict[str, PublicFile], registry: Path | str) -> PublicFile:
    if name not in known:
        nearest = get_close_matches(name, known, n=3, cutoff=0.6) or list(known)
        raise E2MCError(f"{registry} has no '{name}'; did you mean {' or '.join(nearest)}?")
    return known[name]


def label_list_hashes(registry: Path | str = REGISTRY) -> dict[int, str]:
    """Per cent of ImageNet's labels -> sha256 of the published list."""
    return {
        int(one.name.removeprefix(_LABEL_LIST)): one.sha256
        for one in load_registry(registry).values()
        if one.kind == "label-lists" and one.sha256 is not None
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by its columns.

    Raises:
        E2MCError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise E2MCError(
            f"cannot read {path}: there is no such file in {Path.cwd()}. Run `e2mc` in the root "
            "of the repository, where `config/` lies"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise E2MCError(f"cannot read {path}: {error}") from error
