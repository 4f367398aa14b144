"""torch's pickle files: read without executing anything, written reproducibly."""

import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e2mc.errors import E2MCError
from e2mc.files import atomic_write

_ZIP = b"PK\x03\x04"


def exclude_bias_and_norm(parameter: Tensor) -> bool:
    """Stands for the function of VICReg's script that its optimizer state refers to by name."""
    return parameter.ndim == 1


exclude_bias_and_norm.__module__ = "__main__"  # where that script had it
_NAME = exclude_bias_and_norm.__name__


def read_pickled(source: Path) -> Any:
    """Unpickle tensors, plain containers, and references to VICReg's one known function.

    Raises:
        E2MCError: the file is missing, truncated or not torch's, or refers to any other function
            or class; that is refused by name, and nothing of it is executed.
    """
    known = (exclude_bias_and_norm, f"__main__.{_NAME}")
    try:
        with source.open("rb") as stream:
            zipped = stream.read(len(_ZIP)) == _ZIP
        if zipped:
            _refuse_compressed(source)
        with torch.serialization.safe_globals([known]):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(source) if zipped else []
            if not names:
                return torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError as error:
        raise E2MCError(f"{source} does not exist") from error
    except E2MCError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error) or type(error).__name__
        names = re.findall(r"GLOBAL (\S+)", reason)  # all that files older than torch 1.6 tell
        if not names:
            raise E2MCError(
                f"{source} cannot be read as a torch checkpoint ({reason.splitlines()[0]}): it is "
                "probably truncated or something else; fetch it again"
            ) from error
    raise E2MCError(
        f"{source} refers to {', '.join(sorted(names))}: loading that could execute code, so the "
        "file was refused. Save only tensors, numbers and text in it."
    )


def _refuse_compressed(source: Path) -> None:
    """torch maps the file into memory as it is, and would take compressed bytes for numbers."""
    with zipfile.ZipFile(source) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise E2MCError(
                f"{source} is compressed, which torch.save never does: load it with torch and save "
                "it again"
            )


def write_pickled(content: Any, path: Path | str) -> None:
    """`torch.save`, atomically; equal content gives equal bytes."""
    # given a path instead of a stream, torch.save writes the temporary name into the file
    with _function_in_main(), atomic_write(path) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)


@contextmanager
def _function_in_main() -> Iterator[None]:
    """Pickle refers to a function by name, and checks that the name leads to it."""
    main = sys.modules["__main__"].__dict__
    before = main.get(_NAME)
    main[_NAME] = exclude_bias_and_norm
    try:
        yield
    finally:
        del main[_NAME]
        if before is not None:
            main[_NAME] = before
