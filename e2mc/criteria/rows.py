"""What happens to the rows of a batch before anything is measured on them."""

import torch
from torch import Tensor
from torch.nn import functional as F


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, anything else unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def refuse_unless_batch(x: Tensor, wanted_by: str) -> None:
    """Raise ValueError unless x is (n, d) with n >= 2, as whatever has a variance needs it."""
    if x.ndim != 2 or x.shape[0] < 2:
        raise ValueError(f"{wanted_by} needs (n, d) with n >= 2, got {tuple(x.shape)}")


def unit_rows(z: Tensor) -> Tensor:
    """L2-normalised rows; a row of zeros, which has no direction, stays zero without gradient.

    `F.normalize` would hand it a gradient 1e9 times the others' and more, which ends a training: a
    projector that ends in a ReLU gives such rows.
    """
    unit = F.normalize(z, dim=1)
    has_direction = unit.detach().square().sum(dim=1, keepdim=True) > 0.5
    return torch.where(has_direction, unit, 0.0)
