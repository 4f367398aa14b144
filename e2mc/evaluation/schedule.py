"""Learning rates of the evaluation protocols, a function of the epoch."""

from collections.abc import Sequence

from e2mc.training.schedule import cosine


def epoch_rate(
    rate: float, epoch: int, epochs: int, milestones: Sequence[int] = (), factor: float = 0.1
) -> float:
    """Learning rate during an epoch: steps at the milestones, or else a cosine to zero.

    As PyTorch's MultiStepLR and CosineAnnealingLR, stepped after each epoch (all official probes).

    Args:
        rate: rate of the first epoch.
        epoch: epoch, from 0.
        epochs: number of epochs.
        milestones: epochs before which the rate is multiplied by ``factor``.
        factor: 0.1 in linear probes, 0.2 in SwAV's fine-tuning.
    """
    if milestones:
        return rate * factor ** sum(epoch >= milestone for milestone in milestones)
    return cosine(rate, epoch, epochs)
