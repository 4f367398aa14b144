"""SimSiam (Chen and He, CVPR 2021)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone, Training
from e2mc.criteria.rows import at_least_float32
from e2mc.methods.layout import Layout
from e2mc.methods.method import Method, Step, global_mean, pair, trainable


def simsiam_loss(p_a: Tensor, p_b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
    """Symmetric negative cosine similarity with stopped gradient (SimSiam Eqs. 1-4).

        loss = - 1/2 mean_i [ cos(p_a, stop(z_b)) + cos(p_b, stop(z_a)) ]

    Source: official `main_simsiam.py`. The official model returns z detached; here, as in e2mc's
    builder, the gradient is stopped inside the loss, so that a criterion can still reach z.

    Args:
        p_a: (n, d) predictor outputs of the first view.
        p_b: (n, d) of the second.
        z_a: (n, d) projector outputs of the first view; receive no gradient.
        z_b: (n, d) of the second.

    Returns:
        A scalar in [-1, 1], in float32 at least; under torch.distributed the mean over all ranks.
        Rows of zeros count as similarity 0.
    """
    with torch.autocast(p_a.device.type, enabled=False):
        p_a, p_b, z_a, z_b = (at_least_float32(x) for x in (p_a, p_b, z_a, z_b))
        similarity = F.cosine_similarity(p_a, z_b.detach()) + F.cosine_similarity(p_b, z_a.detach())
        return -0.5 * global_mean(similarity)


def simsiam_projector(inputs: int, width: int) -> nn.Sequential:
    """Three linear layers, each with BatchNorm; the last BatchNorm has no weights (official).

    The last layer's bias is kept but frozen, as the BatchNorm after it removes any shift.
    """
    last = nn.Linear(width, width)
    last.bias.requires_grad = False
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        last,
        nn.BatchNorm1d(width, affine=False),
    )


def simsiam_predictor(width: int, hidden: int) -> nn.Sequential:
    """A bottleneck of two linear layers (official; the paper's B.1.3 says 2048-512)."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, width),
    )


class SimSiam(Method):
    """A trunk, a projector that ends in a BatchNorm without weights, and a predictor."""

    layout = Layout(
        {
            "backbone.": "module.encoder.",
            "projector.": "module.encoder.fc.",
            "predictor.": "module.predictor.",
        },
        entry="state_dict",
        header={"arch": "resnet50"},
    )
    predictor: nn.Module

    def __init__(self, recipe: recipes.SimSiam, backbone: Backbone) -> None:
        super().__init__(recipe, backbone)
        self.projector = simsiam_projector(backbone.feature_dimension, recipe.projector)
        self.predictor = simsiam_predictor(recipe.projector, recipe.predictor)

    def uninformed_loss(self, images: int) -> float:
        """Of predictions unrelated to what they predict: 0."""
        return 0.0

    def forward(self, views: list[Tensor]) -> Step:
        """The loss; criteria see z, with its gradient. Each view has its own forward pass."""
        embeddings = [self.embed(view) for view in pair(views, self.name)]
        predictions = [self.predictor(z) for z in embeddings]
        loss = simsiam_loss(*predictions, *embeddings)
        return Step(loss, embeddings, {"simsiam_loss": loss.detach()})

    def parameter_groups(self, training: Training) -> list[dict[str, Any]]:
        """Encoder and predictor; the predictor may have a constant rate of its own.

        A group that brings its own `lr` follows no schedule (official `--fix-pred-lr`).
        """
        encoder = trainable(self.backbone) + trainable(self.projector)
        predictor: dict[str, Any] = {"params": trainable(self.predictor)}
        if training.predictor_learning_rate is not None:
            predictor["lr"] = training.predictor_learning_rate
        return [{"params": encoder}, predictor]
