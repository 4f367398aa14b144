"""An exponential moving average that is part of the state dict."""

from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """forgetting * past + (1 - forgetting) * present, with gradient through the present only.

    The past is a buffer, so a resumed run continues exactly. Its shape is learnt from the first
    use or from the state dict that is loaded. In evaluation mode the past stays as it is.

    Args:
        forgetting: weight of the past, in [0, 1).

    Raises:
        ValueError: forgetting outside [0, 1).
    """

    past: Tensor | None

    def __init__(self, forgetting: float) -> None:
        super().__init__()
        if not 0 <= forgetting < 1:
            raise ValueError(f"forgetting must be in [0, 1), got {forgetting}")
        self.forgetting = forgetting
        self.register_buffer("past", None)

    def forward(self, present: Tensor, start: Tensor) -> Tensor:
        """Blend in the present; ``start`` stands for the past at the first use."""
        # A state may have been loaded on another device: nothing here says which is meant.
        past = start if self.past is None else self.past.to(present.device)
        if past.shape != present.shape:
            raise ValueError(
                f"the moving average is of shape {tuple(past.shape)} but now gets "
                f"{tuple(present.shape)}: use one criterion object per number of views and "
                "dimensions"
            )
        blended = self.forgetting * past + (1 - self.forgetting) * present
        if self.training:
            self.past = blended.detach()
        return blended

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(prefix + "past")
        self.past = None if saved is None else torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
