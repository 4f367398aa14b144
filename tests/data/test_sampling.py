"""Which images make up which step."""

import numpy as np
import pytest

from e2mc.data.sampling import epoch_batches, steps_per_epoch
from e2mc.errors import E2MCError

INDICES = np.arange(100, 123)


def test_every_image_once_in_another_order_each_epoch() -> None:
    epochs = [np.concatenate(epoch_batches(INDICES, 5, 1, epoch)) for epoch in (0, 1)]
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order), INDICES)
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(epochs[0], np.concatenate(epoch_batches(INDICES, 5, 1, 0)))
    assert (epochs[0] != np.concatenate(epoch_batches(INDICES, 5, 2, 0))).any()


def test_order_is_uniform() -> None:
    firsts = [epoch_batches(INDICES, 23, 0, epoch)[0][0] for epoch in range(2300)]
    counts = np.bincount(np.array(firsts) - 100, minlength=23)
    assert counts.min() > 60
    assert counts.max() < 140


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [10, 10, 3]), (True, [10, 10])])
def test_last_partial_batch(drop_last: bool, sizes: list[int]) -> None:
    batches = epoch_batches(INDICES, 10, 0, 0, drop_last=drop_last)
    assert [len(batch) for batch in batches] == sizes
    assert steps_per_epoch(23, 10, drop_last) == len(sizes)


@pytest.mark.parametrize(("images", "sizes"), [(20, [10, 10]), (21, [10, 10]), (22, [10, 10, 2])])
def test_a_last_batch_of_one_image_is_left_out(images: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in epoch_batches(INDICES[:images], 10, 0, 0)] == sizes
    for rank in range(2):
        halves = epoch_batches(INDICES[:images], 10, 0, 0, rank=rank, world_size=2)
        assert [2 * len(batch) for batch in halves] == sizes
    assert steps_per_epoch(images, 10) == len(sizes)


def test_a_last_batch_of_one_image_is_kept_where_one_is_enough() -> None:
    batches = epoch_batches(INDICES[:21], 10, 0, 0, least=1)
    assert [len(batch) for batch in batches] == [10, 10, 1]
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), INDICES[:21])
    assert steps_per_epoch(21, 10, least=1) == 3
    assert steps_per_epoch(20, 10, least=1) == 2


def test_ranks_share_the_steps_of_a_single_process() -> None:
    alone = epoch_batches(INDICES, 8, 4, 9)
    ranks = [epoch_batches(INDICES, 8, 4, 9, rank=rank, world_size=2) for rank in (0, 1)]
    for step, batch in enumerate(alone):
        together = np.stack([rank[step] for rank in ranks], axis=1).ravel()
        np.testing.assert_array_equal(together[: len(batch)], batch)
    # 23 images on two ranks: the first of the order is repeated, as DistributedSampler does.
    assert ranks[1][-1][-1] == alone[0][0]
    assert len(ranks[0][-1]) == len(ranks[1][-1])


def test_steps_of_the_paper() -> None:
    """Facts 2.1: 1,281,167 images at batch 512."""
    assert steps_per_epoch(1_281_167, 512) == 2503
    assert steps_per_epoch(1_281_167, 512, drop_last=True) == 2502


def test_impossible_batches() -> None:
    with pytest.raises(E2MCError, match="cannot be shared by 3"):
        epoch_batches(INDICES, 8, 0, 0, world_size=3)
    with pytest.raises(E2MCError, match="23 images do not fill one batch of 24"):
        epoch_batches(INDICES, 24, 0, 0, drop_last=True)
