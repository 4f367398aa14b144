"""What a criterion says about its input: mistakes that would otherwise train nothing, silently."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


class InputGuard:
    """Refuses embeddings that are not finite; warns once of those that teach nothing.

    On a CPU values are judged at once. On a CUDA device nobody waits for them: the verdict of one
    call travels to the host while the device goes on, and is read in the next call, by every rank
    in the same one. Nothing is judged inside torch.compile and torch.func, where there are no
    values to look at: NaN stays NaN there.

    Args:
        name: of the criterion, for the messages.
        norms_matter: whether embeddings of unit norm are a mistake.
    """

    def __init__(self, name: str, norms_matter: bool) -> None:
        self._name = name
        self._watch_gradient = True
        self._watch_norms = norms_matter
        self._sent: tuple[Tensor, torch.cuda.Event] | None = None

    def __reduce__(self) -> tuple[type["InputGuard"], tuple[str, bool]]:
        return InputGuard, (self._name, self._watch_norms)  # events do not travel

    def watch_gradient(self, views: Sequence[Tensor]) -> None:
        """Warn once if the loss could not reach any of the views."""
        if torch.compiler.is_compiling() or not self._watch_gradient:
            return
        if not torch.is_grad_enabled() or any(_is_transformed(view) for view in views):
            return
        if not any(view.requires_grad for view in views):
            self._watch_gradient = False
            warnings.warn(
                f"{self._name} got embeddings without gradient, so it trains nothing. Give it the "
                "projector's output as it is, not a detached copy; to measure only, call it after "
                ".eval().",
                stacklevel=2,
            )

    def watch_values(self, views: list[Tensor]) -> None:
        """Raise ValueError for NaN or infinity; warn once of L2-normalised rows where norms matter.

        Args:
            views: (n, d) each, the rows of all ranks.
        """
        if torch.compiler.is_compiling() or any(_is_transformed(view) for view in views):
            return
        if views[0].device.type == "cuda":
            self._receive()
            self._send(views)
            return
        for index, view in enumerate(views):
            _refuse_unless_finite(index, view)
        if self._watch_norms:
            self._judge_norms(bool(_have_unit_norm(views)))

    def _send(self, views: list[Tensor]) -> None:
        verdicts = [view.detach().isfinite().all() for view in views]
        if self._watch_norms:
            verdicts.append(_have_unit_norm(views))
        host = torch.stack(verdicts).to("cpu", non_blocking=True)
        self._sent = host, torch.cuda.current_stream().record_event()

    def _receive(self) -> None:
        if self._sent is None:
            return
        host, arrived = self._sent
        self._sent = None
        arrived.synchronize()  # sent before the backward pass of the call before: no wait
        finite: list[bool] = host.tolist()
        if self._watch_norms:
            self._judge_norms(finite.pop())
        if not all(finite):
            raise ValueError(
                f"view {finite.index(False)} of the call before this one held NaN or infinity. "
                + _DIVERGED
            )

    def _judge_norms(self, unit: bool) -> None:
        self._watch_norms = False  # the first batch shows it
        if unit:
            warnings.warn(
                f"{self._name} got embeddings that all have norm 1. It looks at the distribution "
                "of the projector's output before any L2 normalisation.",
                stacklevel=2,
            )


_DIVERGED = (
    "The network has probably diverged: lower the learning rate or the criterion's weights, or "
    "train in float32"
)


def _is_transformed(view: Tensor) -> bool:
    """Whether a torch.func transform is looking at the tensor."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(view))


def _have_unit_norm(views: list[Tensor]) -> Tensor:
    norms = torch.cat([torch.linalg.vector_norm(view.detach(), dim=1) for view in views])
    return ((norms - 1).abs() < 1e-2).all()  # half precision keeps two digits of a norm


def _refuse_unless_finite(index: int, view: Tensor) -> None:
    if math.isfinite(view.detach().sum().item()):  # one pass; the search only if it fails
        return
    bad = (~torch.isfinite(view.detach())).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise ValueError(
            f"view {index}, column {column}, row {row} is {view[row, column].item()} "
            f"({len(bad)} such entries in this view). {_DIVERGED}"
        )
