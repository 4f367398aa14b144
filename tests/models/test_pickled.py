import collections
import os
import random
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from e2mc.errors import E2MCError
from e2mc.models.pickled import exclude_bias_and_norm, read_pickled, write_pickled


class Hostile:
    """Pickles as a call that makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def content() -> dict[str, object]:
    group = {"weight_decay_filter": exclude_bias_and_norm, "params": [0]}
    return {
        "epoch": 3,
        "model": collections.OrderedDict(a=torch.arange(6.0).view(2, 3)),
        "optimizer": {"state": {0: {"mu": torch.ones(2)}}, "param_groups": [group]},
    }


def write(value: object, path: Path, zipped: bool) -> None:
    """As `write_pickled`, also in the format from before torch 1.6, which SwAV's files have."""
    main = sys.modules["__main__"]
    main.exclude_bias_and_norm = exclude_bias_and_norm  # type: ignore[attr-defined]
    try:
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
    finally:
        del main.exclude_bias_and_norm  # type: ignore[attr-defined]


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_the_known_function_are_read(tmp_path: Path, zipped: bool) -> None:
    write(content(), tmp_path / "file", zipped)
    back = read_pickled(tmp_path / "file")
    assert back["epoch"] == 3
    assert torch.equal(back["model"]["a"], torch.arange(6.0).view(2, 3))
    assert back["optimizer"]["param_groups"][0]["weight_decay_filter"] is exclude_bias_and_norm


@pytest.mark.parametrize("zipped", [True, False])
def test_anything_else_is_refused_by_name_and_never_executed(tmp_path: Path, zipped: bool) -> None:
    victim = tmp_path / "victim"
    torch.save({"a": Hostile(victim)}, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    torch.load(tmp_path / "f", weights_only=False)
    assert victim.exists()  # the file is dangerous
    victim.rmdir()
    with pytest.raises(E2MCError, match=r"refers to posix\.mkdir: loading that could execute"):
        read_pickled(tmp_path / "f")
    assert not victim.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_named(tmp_path: Path, zipped: bool) -> None:
    write(content(), tmp_path / "whole", zipped)
    whole = (tmp_path / "whole").read_bytes()
    draw = random.Random(0)
    for length in [0, 3, *(draw.randrange(len(whole) - 1) for _ in range(40))]:
        (tmp_path / "part").write_bytes(whole[:length])
        # a name cut in the middle is an unknown name
        with pytest.raises(E2MCError, match=r"part (cannot be read as a torch|refers to \S+:)"):
            read_pickled(tmp_path / "part")
    with pytest.raises(E2MCError, match="none does not exist"):
        read_pickled(tmp_path / "none")


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    """Mapped into memory, its numbers would be those of the compressed bytes."""
    write({"a": torch.arange(1000.0)}, tmp_path / "plain.pth", zipped=True)
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry))
    with pytest.raises(E2MCError, match=r"small\.pth is compressed"):
        read_pickled(tmp_path / "small.pth")


def test_writing_leaves_no_trace_and_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "another-name"):
        write_pickled(content(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "another-name").read_bytes()
    assert not hasattr(sys.modules["__main__"], "exclude_bias_and_norm")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_function_of_that_name_in_main_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, own = sys.modules["__main__"], object()
    monkeypatch.setattr(main, "exclude_bias_and_norm", own, raising=False)
    write_pickled(content(), tmp_path / "file")
    assert main.exclude_bias_and_norm is own  # type: ignore[attr-defined]
