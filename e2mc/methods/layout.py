"""How the official checkpoint files of a method are laid out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from e2mc.models.pickled import exclude_bias_and_norm


@dataclass(frozen=True)
class Layout:
    """Where an official file keeps what, and how it names it."""

    prefixes: Mapping[str, str]
    """Our prefix -> the official one."""
    entry: str | None = None
    """Key of the state dict in the file; None: the file is the state dict and nothing else."""
    header: Mapping[str, Any] = field(default_factory=dict)
    """What else stands in the file, beside epoch, weights and optimizer."""
    momentum: str = "momentum_buffer"
    """Name of a momentum buffer in the optimizer's state."""
    group: Mapping[str, Any] = field(default_factory=dict)
    """What else stands in the optimizer's parameter groups."""

    def official(self, name: str) -> str | None:
        """A key of our state dict in this layout; None if that has no place for it."""
        for ours, official in self.prefixes.items():
            if name.startswith(ours):
                return official + name.removeprefix(ours)
        return None


LARS_FILTERS = dict.fromkeys(
    ("weight_decay_filter", "lars_adaptation_filter"), exclude_bias_and_norm
)
"""What the LARS of VICReg's script keeps in its parameter groups."""
