"""lightly's SimSiam with E2MC, and the one line of its tutorial that has to change.

    pip install lightly
    python examples/lightly_simsiam.py

lightly's example module returns `z.detach(), p`. Detached embeddings give a criterion no gradient:
it would log its terms and train nothing (e2mc warns of that). So return `z, p` and detach `z` where
the loss needs it.
"""

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor, nn

from e2mc.criteria import E2MC, suggest_weights


class SimSiam(nn.Module):
    """lightly's example, with a small backbone; embeddings keep their gradient."""

    def __init__(self, inputs: int = 20, width: int = 64) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())
        self.projection_head = SimSiamProjectionHead(width, width, width)
        self.prediction_head = SimSiamPredictionHead(width, width // 4, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and prediction, (n, width) each."""
        z = self.projection_head(self.backbone(x))
        return z, self.prediction_head(z)  # lightly: z.detach()


def main(steps: int = 200) -> list[dict[str, float]]:
    """Train on random clusters; returns base loss and entropy of every step."""
    torch.manual_seed(0)
    centres = torch.randn(6, 20)
    model = SimSiam()
    similarity = NegativeCosineSimilarity()
    criterion = E2MC("hypersphere", entropy_weight=1.0, covariance_weight="auto")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9)
    history = []
    for step in range(steps):
        images = centres[torch.randint(6, (128,))] + 0.5 * torch.randn(128, 20)
        (z_a, p_a), (z_b, p_b) = (model(images + 0.3 * torch.randn(128, 20)) for _ in range(2))
        base = 0.5 * (similarity(z_a.detach(), p_b) + similarity(z_b.detach(), p_a))
        if step == 0:
            # SimSiam's loss reaches the embeddings through the predictor
            criterion.weights = suggest_weights(base, [z_a, z_b], criterion)
        terms = criterion.terms([z_a, z_b])
        optimizer.zero_grad()
        torch.autograd.backward(base + criterion.weigh(terms))
        optimizer.step()
        history.append({"base": base.item(), "entropy": terms["entropy"].item()})
        if step % 50 == 49:
            print(f"step {step + 1}: base loss {base.item():.3f}, entropy {terms['entropy']:.3f}")
    return history


if __name__ == "__main__":
    main()
