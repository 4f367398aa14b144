"""What all criteria share: checked input, all ranks' rows, float32, weighted terms."""

import math
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import ClassVar

import torch
from torch import Tensor, nn

from e2mc.criteria.gather import gather_rows


class Criterion(nn.Module):
    """Something to add to a base loss, computed from the embeddings of one batch.

    A subclass sets ``weights`` and implements ``measure``. Users call

        loss = base_loss + criterion(views)

    or, to log the terms without computing them twice,

        terms = criterion.terms(views)
        loss = base_loss + criterion.weigh(terms)

    Views are a sequence of (n, d) tensors of one shape, row i of each coming from image i.
    Computation is in float32 at least, outside autocast.

    Attributes:
        weights: factor of each term in the loss; negative where the term is maximised.
        all_views: whether a multi-crop method hands over all its views (MMCR) or only the
            full-resolution ones (everything else).
        minimum_views: how many views the criterion needs.
    """

    all_views: ClassVar[bool] = False
    minimum_views: ClassVar[int] = 1
    weights: dict[str, float]

    def __init__(self, weights: dict[str, float], gather: bool = True) -> None:
        super().__init__()
        self.weights = weights
        self.gather = gather

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """The scalar to add to a base loss."""
        return self.weigh(self.terms(views))

    def terms(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """Unweighted scalars by name, with gradient.

        Raises:
            ValueError: too few views, or a view that is not floating-point (n, d), differs in
                shape from the first, has fewer than 2 rows over all ranks, or contains NaN or
                infinity. The last two are found on every rank alike, so no rank is left waiting.
        """
        self._check_shapes(views)
        with torch.autocast(views[0].device.type, enabled=False):
            rows = [view.to(torch.promote_types(view.dtype, torch.float32)) for view in views]
            if self.gather:
                rows = [gather_rows(view) for view in rows]
            for index, view in enumerate(rows):
                _check_values(index, view)
            return self.measure(rows)

    def weigh(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what ``terms`` returned: the scalar to add to a base loss."""
        return total([weight * terms[name] for name, weight in self.weights.items()])

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Unweighted terms of checked views that hold the rows of all ranks."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The weights, for ``print(criterion)``."""
        return ", ".join(f"{name}: {weight:g}" for name, weight in self.weights.items())

    def _check_shapes(self, views: Sequence[Tensor]) -> None:
        name = type(self).__name__
        if len(views) < self.minimum_views:
            raise ValueError(
                f"{name} needs a list of at least {self.minimum_views} view(s), each (n, d)"
            )
        for index, view in enumerate(views):
            if view.ndim != 2 or view.shape[1] == 0:
                raise ValueError(f"{name}: view {index} must be (n, d), got {tuple(view.shape)}")
            if view.shape != views[0].shape:
                raise ValueError(
                    f"{name}: view {index} is {tuple(view.shape)} but view 0 is "
                    f"{tuple(views[0].shape)}; all views must have one shape"
                )
            if not view.is_floating_point():
                raise ValueError(f"{name}: view {index} must be floating-point, is {view.dtype}")


def _check_values(index: int, view: Tensor) -> None:
    if view.shape[0] < 2:
        raise ValueError(f"view {index} has {view.shape[0]} row(s); a criterion needs at least 2")
    if math.isfinite(view.detach().sum().item()):  # one pass; the search only if it fails
        return
    bad = (~torch.isfinite(view.detach())).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise ValueError(
            f"view {index}, column {column}, row {row} is {view[row, column].item()} "
            f"({len(bad)} such entries in this view). The network has probably diverged: "
            "lower the learning rate or the criterion's weights, or train in bfloat16"
        )


def total(scalars: Sequence[Tensor]) -> Tensor:
    """The sum of one or more scalars, with fewer small kernels than stacking them."""
    return reduce(add, scalars)


def average(scalars: Sequence[Tensor]) -> Tensor:
    """The mean of one or more scalars."""
    return total(scalars) / len(scalars)


def require(condition: bool, message: str) -> None:
    """Refuse a constructor argument: raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)
