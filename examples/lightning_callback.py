"""E2MC added to any LightningModule by a callback, without touching the module.

    pip install lightning
    python examples/lightning_callback.py

The module keeps the embeddings of the batch in `self.embeddings`, a list of (n, d) with gradient;
the callback adds the criterion's gradient before the backward pass of the module's own loss.
"""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.criteria import E2MC, Criterion, covariance_penalty, suggest_weights, variance_hinge


class AddCriterion(pl.Callback):
    """Adds a criterion to what the module's `training_step` returns, and logs its terms.

    Args:
        criterion: what to add; it is moved to the module's device.
        share: strength such that it pulls with this share of the base loss's gradient, measured
            on the first batch; None keeps the criterion's own weights.
    """

    def __init__(self, criterion: Criterion, share: float | None = None) -> None:
        self.criterion = criterion
        self.share = share

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Wrap the training step, so that mixed precision and accumulation work as before."""
        self.criterion.to(pl_module.device)
        step = pl_module.training_step

        def training_step(*arguments: Any, **named: Any) -> Tensor:
            base: Tensor = step(*arguments, **named)
            views = pl_module.embeddings
            if self.share is not None:
                self.criterion.weights = suggest_weights(base, views, self.criterion, self.share)
                self.share = None
            terms = self.criterion.terms(views)
            pl_module.log_dict({name: term.detach() for name, term in terms.items()})
            return base + self.criterion.weigh(terms)

        pl_module.training_step = training_step  # type: ignore[method-assign]

    def state_dict(self) -> dict[str, Any]:
        """What the criterion remembers and weighs goes into Lightning's checkpoints."""
        return {"criterion": self.criterion.state_dict(), "weights": self.criterion.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where the checkpoint was written."""
        self.criterion.load_state_dict(state["criterion"])
        self.criterion.weights = state["weights"]
        self.share = None


class VICReg(pl.LightningModule):
    """A small VICReg that knows nothing of E2MC, except that it keeps its embeddings."""

    def __init__(self, inputs: int = 20, width: int = 64) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
        )
        self.embeddings: list[Tensor] = []

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        """VICReg on two noisy copies of the batch."""
        a, b = (self.network(batch + 0.3 * torch.randn_like(batch)) for _ in range(2))
        self.embeddings = [a, b]
        spread = (variance_hinge(a) + variance_hinge(b)) / 2
        loss = 25 * F.mse_loss(a, b) + 25 * spread + covariance_penalty(a) + covariance_penalty(b)
        self.log("base_loss", loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


def main(epochs: int = 5) -> dict[str, float]:
    """Train on random clusters; returns the last values that were logged."""
    pl.seed_everything(0)
    centres = torch.randn(6, 20)
    data = centres[torch.randint(6, (1024,))] + 0.5 * torch.randn(1024, 20)
    criterion = E2MC("hypercube", entropy_weight=1.0, covariance_weight="auto")
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[AddCriterion(criterion, share=0.1)],
    )
    trainer.fit(VICReg(), torch.utils.data.DataLoader(data, batch_size=128, drop_last=True))
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    print(*(f"{name}: {value:.4f}" for name, value in logged.items()), sep="\n")
    return logged


if __name__ == "__main__":
    main()
