"""Cached features as a stage reads them: an index of shards, opened and checked.

`index.json` is written last and names every shard with its sha256, so a folder with an index is
complete. Nothing here needs torch.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2mc.config.settings import Kind
from e2mc.errors import E2MCError
from e2mc.evaluation.shards import REMEDY, Shard, load_shard
from e2mc.files import read_json, sealed, sha256, write_text

EXPONENT = 0x7C00
ROWS = 4096


@dataclass(frozen=True, eq=False)
class Features:
    """Cached features of one split; arrays are memory-mapped when they are asked for.

    Attributes:
        index: the `index.json` they were opened from.
        dataset: its name, see `e2mc.config.protocols`.
        split: `train` or `test`.
        kind: pooled vectors or 2x2 maps.
        names: sample ids, in the data set's order.
        labels: (n,) class numbers, or (n, classes) in {1, -1, 0 = difficult}.
        classes: class names.
        dim: values per sample and crop.
        crops: how each crop was taken: `random`, `center` or `squash`.
        shards: the files.
        model_sha256: hash of the model file that made them.
        source: digest of all that they depend on.
    """

    index: Path
    dataset: str
    split: str
    kind: Kind
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    dim: int
    crops: tuple[str, ...]
    shards: tuple[Shard, ...]
    model_sha256: str
    source: str
    _sound: set[int] = field(default_factory=set)
    """Crops that were found finite: it is asked once."""

    @property
    def views(self) -> int:
        """Number of randomly augmented views."""
        return self.crops.count("random")

    def view(self, number: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float16]:
        """Randomly augmented view ``number``; see :meth:`crop` for ``rows``."""
        augmented = [at for at, crop in enumerate(self.crops) if crop == "random"]
        return self.crop(augmented[number], rows)

    def whole(self) -> NDArray[np.float16]:
        """The one view without randomness (centre crop or squashed image)."""
        fixed = [at for at, crop in enumerate(self.crops) if crop != "random"]
        if not fixed:
            raise E2MCError(f"{self.index} holds no centre crop; {REMEDY}")
        return self.crop(fixed[0])

    def crop(self, number: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float16]:
        """One crop of all samples, or of ``rows`` in their order, shape (n, dim), finite.

        A whole crop in one shard stays a memory map; anything else is copied.

        Raises:
            E2MCError: a feature is NaN or infinite.
        """
        if rows is None and len(self.shards) == 1:
            part: NDArray[np.float16] = self._map(self.shards[0])[number]
        elif rows is None:
            part = np.concatenate([self._map(shard)[number] for shard in self.shards])
        else:
            part = np.empty((len(rows), self.dim), np.float16)
            for shard in self.shards:
                here = (rows >= shard.first) & (rows < shard.first + shard.count)
                part[here] = self._map(shard)[number][rows[here] - shard.first]
        if number not in self._sound:
            self._finite(part, rows)
        if rows is None:
            self._sound.add(number)
        return part

    def verify(self) -> None:
        """Compare every shard with its hash (reads all of them).

        Raises:
            E2MCError: a shard has changed since it was written.
        """
        for shard in self.shards:
            if sha256(self.index.parent / shard.file) != shard.sha256:
                raise E2MCError(
                    f"{self.index.parent / shard.file} has changed since it was written, or comes "
                    "from another model (its sha256 is not the one in index.json); delete it and "
                    "extract again"
                )

    def _map(self, shard: Shard) -> NDArray[np.float16]:
        return load_shard(self.index.parent / shard.file, (len(self.crops), shard.count, self.dim))

    def _finite(self, part: NDArray[np.float16], rows: NDArray[np.int64] | None) -> None:
        for start in range(0, len(part), ROWS):
            # float16 is NaN or infinite where all bits of its exponent are set.
            bits = part[start : start + ROWS].view(np.uint16) & np.uint16(EXPONENT)
            if bits.max(initial=0) == EXPONENT:
                at = start + int(np.argmax(bits.max(axis=1)))
                name = self.names[at if rows is None else rows[at]]
                raise E2MCError(
                    f"{self.index.parent}: the features of {name} are not finite; "
                    "the model diverged, or the shard is damaged"
                )


def open_features(index: Path | str, *, verify: bool = False) -> Features:
    """Open cached features; shards are checked to be there with the promised shape.

    Args:
        index: an `index.json`.
        verify: also compare every shard with its hash.

    Raises:
        E2MCError: no index, a missing, cut or changed shard, gaps between shards, or counts that
            do not fit.
    """
    index = Path(index)
    if not index.exists():
        raise E2MCError(
            f"{index} does not exist. Features are deleted when all that reads them is done, "
            "unless evaluation.keep_features is true: extract them again; what is evaluated "
            "already stays"
        )
    content = read_json(index)
    try:
        features = Features(
            index=index,
            dataset=content["dataset"],
            split=content["split"],
            kind=content["kind"],
            names=tuple(content["names"]),
            labels=np.array(content["labels"], np.int64),
            classes=tuple(content["classes"]),
            dim=content["dim"],
            crops=tuple(content["crops"]),
            shards=tuple(Shard(**shard) for shard in content["shards"]),
            model_sha256=content["model_sha256"],
            source=content["source"],
        )
    except (KeyError, TypeError) as error:
        raise E2MCError(f"{index} is not an index of features ({error}); {REMEDY}") from error
    position = 0
    for shard in features.shards:
        if shard.first != position:
            raise E2MCError(f"{index}: samples {position} to {shard.first} are missing; {REMEDY}")
        features._map(shard)
        position += shard.count
    if not position == len(features.names) == len(features.labels):
        raise E2MCError(
            f"{index} has {len(features.names)} names, {len(features.labels)} labels and "
            f"{position} samples in its shards; {REMEDY}"
        )
    if verify:
        features.verify()
    return features


def open_pair(train: Path, test: Path) -> tuple[Features, Features]:
    """The two splits of one data set by one model, every shard compared with its hash.

    Raises:
        E2MCError: either cannot be opened, a shard has changed or been exchanged, or they come
            from different models, data sets, layers or class lists.
    """
    pair = open_features(train), open_features(test)
    for features, split in zip(pair, ("train", "test"), strict=True):
        if features.split != split:
            raise E2MCError(f"{features.index} is the {features.split} split, not {split}")
    for name, meaning in (
        ("model_sha256", "different models"),
        ("dataset", "different data sets"),
        ("kind", "different layers"),
        ("dim", "backbones of different width"),
        ("classes", "data with different classes"),
    ):
        values = [getattr(features, name) for features in pair]
        if values[0] != values[1]:
            shown = "" if name == "classes" else f" ({name} {values[0]} and {values[1]})"
            raise E2MCError(
                f"{train} and {test} come from {meaning}{shown}; "
                "give the two splits of one extraction, or extract the older one again"
            )
    for features in pair:
        features.verify()
    return pair


def write_index(index: Path, content: Mapping[str, Any], shards: Iterable[Shard]) -> None:
    """Write the index that makes a folder of shards complete."""
    everything = {**content, "shards": [asdict(shard) for shard in shards]}
    write_text(index, json.dumps(sealed(everything)) + "\n")
