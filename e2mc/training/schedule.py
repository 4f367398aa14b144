"""Learning rate as a function of progress."""

import math

from e2mc.config.methods import Training


def learning_rate(training: Training, epoch: float, total: float) -> float:
    """Rate at a point of the training: linear warm-up, then constant or a cosine to its floor.

    Args:
        training: schedule and effective peak rate.
        epoch: epochs done, with fractions: step / steps per epoch.
        total: epochs in all.
    """
    warmup = training.warmup_epochs
    if epoch < warmup:
        return training.learning_rate * epoch / warmup
    if training.schedule == "constant":
        return training.learning_rate
    if training.schedule_step == "epoch":
        epoch = math.floor(epoch)
    floor = training.final_learning_rate
    return floor + cosine(training.learning_rate - floor, (epoch - warmup) / (total - warmup))


def cosine(rate: float, done: float, total: float = 1.0) -> float:
    """The rate on half a cosine from ``rate`` at 0 down to zero at ``total``."""
    return rate * 0.5 * (1 + math.cos(math.pi * done / total))
