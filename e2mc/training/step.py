"""One step: the loss of a batch with its scalars, and the update."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from e2mc.errors import E2MCError
from e2mc.training.run import Run

MOST_SKIPPED = 10
"""Steps in a row that may be skipped because a number of float16 was too large.

The scale then falls from 65536 to 64; the official scripts know no limit.
"""


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of the forward pass; float16 becomes bfloat16 on CPUs."""
    if precision == "float16" and device.type == "cpu":
        print("  float16 needs a GPU: this run uses bfloat16", flush=True)
        precision = "bfloat16"
    enabled = precision != "float32"
    dtype = getattr(torch, precision) if enabled else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=enabled)


def loss_of(
    run: Run, network: nn.Module, views: list[Tensor], precision: torch.autocast, state: Path
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss with gradient, and the scalars of the history.

    All processes see the same loss, so that all of them stop when it is not finite. With float16
    and its scaler such a step is skipped, as by the official scripts, up to `MOST_SKIPPED` times
    in a row: the loss returned then has no finite gradient, and there are no scalars.

    Args:
        run: model and criterion.
        network: the run's module, or what runs it on several processes.
        views: of a batch, full ones first, each (n, 3, height, width).
        precision: from `autocast`.
        state: run directory, for the message.

    Raises:
        E2MCError: the loss is not finite; the message names the step and all terms.
    """
    with precision:
        made = network(views)
    loss, values = made.loss, dict(made.terms)
    try:
        if run.criterion is not None:
            everything = run.criterion.all_views
            shown = made.embeddings if everything else made.embeddings[: run.module.full_views]
            terms = run.criterion.terms(shown)
            values |= terms
            loss = loss + run.criterion.weigh(terms)
        if not torch.isfinite(loss):
            raise ValueError("the loss is not finite")
    except ValueError as error:
        shown_terms = {"base loss": made.loss, **values}
        found = ", ".join(f"{name} {value.item():.4g}" for name, value in shown_terms.items())
        if run.scaler.is_enabled() and run.skipped < MOST_SKIPPED:
            print(f"step {run.step + 1} is skipped: {error}; {found}", flush=True)
            return made.loss * math.inf, {}
        raise E2MCError(
            f"step {run.step + 1}: {error}; {found}. Lower the learning rate or the criterion's "
            f"weights, or use float32 instead of float16. States saved before it are in {state}."
        ) from error
    if run.first_loss is None:
        run.first_loss = made.loss.item()
    return loss, {"loss": loss, **values}


def update(run: Run, loss: Tensor) -> None:
    """Backward pass and optimizer: the run has done one more step.

    The scaler skips a step whose gradient is not finite, and lowers its scale.

    Raises:
        E2MCError: that happened in more than `MOST_SKIPPED` steps in a row.
    """
    scale = run.scaler.get_scale()
    run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    run.module.after_backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad()
    run.step += 1
    run.skipped = run.skipped + 1 if run.scaler.get_scale() < scale else 0
    if run.skipped > MOST_SKIPPED:
        raise E2MCError(
            f"step {run.step}: in {run.skipped} steps in a row the gradient was not finite. Lower "
            "the learning rate or the criterion's weights, or use float32 instead of float16."
        )
