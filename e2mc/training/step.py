"""One step: the loss of a batch with its scalars, and the update."""

from pathlib import Path

import torch
from torch import Tensor, nn

from e2mc.errors import E2MCError
from e2mc.training.run import Run


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

    All processes see the same loss, so that all of them stop when it is not finite.

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
        raise E2MCError(
            f"step {run.step + 1}: {error}; {found}. Lower the learning rate or the criterion's "
            f"weights, or use bfloat16 instead of float16. States saved before it are in {state}."
        ) from error
    return loss, {"loss": loss, **values}


def update(run: Run, loss: Tensor) -> None:
    """Backward pass and optimizer: the run has done one more step."""
    run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad()
    run.step += 1
