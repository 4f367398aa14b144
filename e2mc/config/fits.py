"""One supervised fit: a linear probe on frozen features, or fine-tuning on few labels."""

from typing import Literal

from pydantic import Field

from e2mc.config.ranges import Milestones
from e2mc.config.strict import Strict

Percent = Literal[1, 10, 100]
"""Shares of the labels of linear probes."""
FewPercent = Literal[1, 10]
"""Shares of the labels of fine-tuning."""


class LinearFit(Strict):
    """One linear classifier on frozen features."""

    learning_rate: float = Field(gt=0)
    """The effective learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty, on weights and biases alike."""
    batch_size: int = Field(256, ge=1)
    """Images per step; the last, partial batch is kept."""
    epochs: int = Field(100, ge=1)
    """Passes over the labelled images (paper: 100)."""
    rule: Literal["sgd", "larc"] = "sgd"
    """SGD with momentum 0.9, or the same inside LARC (SimSiam)."""
    milestones: Milestones = ()
    """Epochs at which the rate is divided by ten; none: cosine to zero, stepped per epoch."""


class FineTune(Strict):
    """Fine-tuning of the whole network on few labels."""

    backbone_learning_rate: float = Field(gt=0)
    """Effective rate of the backbone."""
    head_learning_rate: float = Field(gt=0)
    """Effective rate of the new linear head."""
    epochs: int = Field(20, ge=1)
    """Passes over the labelled images."""
    batch_size: int = Field(256, ge=2)
    """Images per step over all processes."""
    milestones: Milestones = ()
    """Epochs at which both rates are multiplied by 0.2; none: cosine to zero per epoch."""
