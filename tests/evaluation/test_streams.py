import threading

import numpy as np
import pytest
import torch

from e2mc.evaluation import streams
from e2mc.evaluation.streams import Views, copied

CPU = torch.device("cpu")


class Disk:
    """Views of ones, twos and so on; remembers what was read, and by which thread."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, number: int) -> np.ndarray:
        self.read.append(number)
        self.threads.add(threading.get_ident())
        return np.full((4, 2), number, np.float16)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("room", [0, 2**20])
def test_every_epoch_gets_its_view(monkeypatch: pytest.MonkeyPatch, ahead: bool, room: int) -> None:
    monkeypatch.setattr(streams, "room", lambda device: room)
    disk = Disk()
    views = Views(disk, 3, 7, CPU, torch.float32, ahead=ahead)
    for epoch in range(7):
        assert torch.equal(views.epoch(epoch), torch.full((4, 2), epoch % 3, dtype=torch.float16))
    expected = [0, 1, 2] if room else [0, 1, 2, 0, 1, 2, 0]
    assert disk.read == expected, "in memory each is read once, otherwise once per epoch"
    assert (threading.get_ident() in disk.threads) == (len(disk.threads) == 1 or ahead)
    assert len(disk.threads) == 1 + ahead


def test_one_view_is_read_once_whatever_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "room", lambda device: 0)
    disk = Disk()
    views = Views(disk, 1, 5, CPU, torch.float32, ahead=True)
    assert all(torch.equal(views.epoch(epoch), views.epoch(0)) for epoch in range(5))
    assert disk.read == [0]


def test_what_cannot_be_read_ahead_is_an_error_of_its_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "room", lambda device: 0)

    def broken(number: int) -> np.ndarray:
        if number == 1:
            raise OSError("the disk is gone")
        return np.zeros((2, 2), np.float16)

    views = Views(broken, 2, 4, CPU, torch.float32, ahead=True)
    views.epoch(0)
    with pytest.raises(OSError, match="the disk is gone"):
        views.epoch(1)


def test_a_copy_does_not_share_the_memory_of_a_view() -> None:
    array = np.ones((2, 3), np.float16)
    copied(array[:1], CPU).zero_()
    assert array.all()
