"""Model weights on disk: safetensors files with metadata, loaded strictly."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from e2mc.errors import E2MCError
from e2mc.files import atomic_write, check

MOMENTUM = "momentum."
"""Prefix of optimizer momentum that travels with imported weights."""

_COUNTER = "num_batches_tracked"
_SHOWN = 10


def save_model(state: Mapping[str, Tensor], path: Path | str, metadata: Mapping[str, str]) -> None:
    """Write a state dict as safetensors, atomically; equal input gives equal bytes.

    Args:
        state: names -> tensors.
        path: final name.
        metadata: plain text about the model, e.g. its method and the sha256 of its source.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    # safetensors writes several metadata entries in random order, hence a single one
    content = {"e2mc": json.dumps(dict(metadata), sort_keys=True)}
    with atomic_write(path) as temporary:
        temporary.touch()
        permissions = temporary.stat().st_mode
        save_file(tensors, temporary, metadata=content)
        temporary.chmod(permissions)  # safetensors leaves the file to its owner alone


def load_state(path: Path | str) -> dict[str, Tensor]:
    """The model's tensors, without any momentum that travels with them.

    Raises:
        E2MCError: the file is missing, truncated, changed since it was written or not safetensors.
    """
    check(Path(path))
    return _read(path, lambda name: not name.startswith(MOMENTUM))


def load_momentum(path: Path | str) -> dict[str, Tensor]:
    """Optimizer momentum by parameter name; empty unless it was imported with the weights."""
    momentum = _read(path, lambda name: name.startswith(MOMENTUM))
    return {name.removeprefix(MOMENTUM): tensor for name, tensor in momentum.items()}


def load_metadata(path: Path | str) -> dict[str, str]:
    """What `save_model` was told about the model."""
    with _open(path) as file:
        metadata: dict[str, str] = json.loads((file.metadata() or {}).get("e2mc", "{}"))
    return metadata


@contextmanager
def _open(path: Path | str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise E2MCError(
            f"{path} is not a readable safetensors file ({error}); "
            "delete it and make it again, or import an official checkpoint first"
        ) from error


def _read(path: Path | str, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    with _open(path) as file:
        return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Load ``state`` into ``module``, or refuse with the list of differences.

    Only absent BatchNorm step counters (``num_batches_tracked``) are tolerated: they are not
    read where BatchNorm has a momentum, and old checkpoints lack them.

    Raises:
        E2MCError: a tensor is missing, unexpected or misshapen. Nothing is loaded then.
    """
    refuse_differences(module.state_dict(), state, source)
    module.load_state_dict(state, strict=False)


def refuse_differences(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: Path | str
) -> None:
    """Raise an `E2MCError` that lists how ``given`` departs from ``expected``, if it does."""
    missing = [name for name in expected if name not in given and not name.endswith(_COUNTER)]
    unexpected = [name for name in given if name not in expected]
    misshapen = [
        f"{name} is {tuple(given[name].shape)}, the model has {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    found = [
        _list("missing", missing),
        _list("unexpected", unexpected),
        _list("misshapen", misshapen),
    ]
    if any(found):
        raise E2MCError(
            f"{source} does not fit the model; nothing was loaded.\n"
            + "".join(found)
            + "Check that `backbone` and the method's widths are those it was trained with."
        )


def _list(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    rest = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return f"{title} ({len(lines)}):\n" + "".join(f"  {line}\n" for line in lines[:_SHOWN] + rest)
