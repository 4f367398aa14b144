"""What all criteria share: checked input, all ranks' rows, float32, weighted terms."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import ClassVar

import torch
from torch import Tensor, nn

from e2mc.criteria.gather import gather_rows, rows_per_rank
from e2mc.criteria.guards import InputGuard


class Criterion(nn.Module):
    """Something to add to a base loss, computed from the embeddings of one batch.

    A subclass sets ``weights`` and implements ``measure``. Users call

        loss = base_loss + criterion(views)

    or, to log the terms without computing them twice,

        terms = criterion.terms(views)
        loss = base_loss + criterion.weigh(terms)

    Views are a sequence of (n, d) tensors of one shape, row i of each coming from image i.
    Computation is in float32 at least, outside autocast. A first batch of embeddings without
    gradient, or of unit norm where that is a mistake, is warned of once.

    Attributes:
        weights: factor of each term in the loss; negative where the term is maximised.
        all_views: whether a multi-crop method hands over all its views (MMCR) or only the
            full-resolution ones (everything else).
        minimum_views: how many views the criterion needs.
        norms_matter: whether L2-normalised embeddings are a mistake.
    """

    all_views: ClassVar[bool] = False
    minimum_views: ClassVar[int] = 1
    norms_matter: ClassVar[bool] = False
    weights: dict[str, float]

    def __init__(self, weights: dict[str, float], gather: bool = True) -> None:
        super().__init__()
        self.weights = weights
        self.gather = gather
        self._guard = InputGuard(type(self).__name__, self.norms_matter)

    def forward(self, views: Sequence[Tensor], *others: Tensor) -> Tensor:
        """The scalar to add to a base loss; errors as for `terms`.

        Raises:
            TypeError: views given one by one instead of as a list.
        """
        if others:
            raise TypeError(
                f"{type(self).__name__} takes all views as one list: criterion([z_a, z_b])"
            )
        return self.weigh(self.terms(views))

    def terms(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """Unweighted scalars by name, with gradient.

        Raises:
            TypeError: views that are no list, or no tensors.
            ValueError: one tensor instead of a list, too few views, or a view that is not
                floating-point (n, d), differs in shape from the first, has fewer than 2 rows over
                all ranks, or contains NaN or infinity. The last two are found on every rank alike,
                so no rank is left waiting; the very last on a CUDA device in the next call, as
                nothing waits for the device.
        """
        self._check_shapes(views)
        if self.training:
            self._guard.watch_gradient(views)
        with torch.autocast(views[0].device.type, enabled=False):
            dtype = reduce(torch.promote_types, [view.dtype for view in views], torch.float32)
            rows = [view.to(dtype) for view in views]
            if self.gather:
                sizes = rows_per_rank(rows[0])
                rows = [gather_rows(view, sizes) for view in rows]
            count = rows[0].shape[0]
            if count < 2:
                raise ValueError(f"view 0 has {count} row(s); a criterion needs at least 2")
            self._guard.watch_values(rows)
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

    def _check_shapes(self, views: Sequence[Tensor] | Tensor) -> None:
        name = type(self).__name__
        if not isinstance(views, Sequence | Tensor):
            raise TypeError(f"{name} takes a list of views, each (n, d), and got {type(views)}")
        if isinstance(views, Tensor) and views.ndim == 2:
            raise ValueError(
                f"{name} takes a list of views, each (n, d), and got one tensor of shape "
                f"{tuple(views.shape)}: write criterion([z])"
            )
        if len(views) < self.minimum_views:
            raise ValueError(
                f"{name} needs a list of at least {self.minimum_views} view(s), each (n, d)"
            )
        for index, view in enumerate(views):
            if not isinstance(view, Tensor):
                raise TypeError(f"{name}: view {index} must be a tensor, got {type(view)}")
            if view.ndim != 2 or view.shape[1] == 0:
                raise ValueError(f"{name}: view {index} must be (n, d), got {tuple(view.shape)}")
            if view.shape != views[0].shape:
                raise ValueError(
                    f"{name}: view {index} is {tuple(view.shape)} but view 0 is "
                    f"{tuple(views[0].shape)}; all views must have one shape"
                )
            if not view.is_floating_point():
                raise ValueError(f"{name}: view {index} must be floating-point, is {view.dtype}")


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
