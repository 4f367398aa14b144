"""Self-supervised learning with E2MC in one file: VICReg on digits, with a linear probe.

    pip install . scikit-learn        # in a clone of e2mc
    python examples/minimal.py        # about a minute on two cores; --help has the options

Pre-trains a small network with VICReg, then goes on twice from the same weights: with VICReg alone
and with VICReg + E2MC. A linear probe learns beside each of them from the labels; its gradient
stops at the features, so it only watches. What to look at: the entropy rises with E2MC. Accuracy
need not: digits are not ImageNet, and one seed is not a result.
"""

import argparse
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.criteria import E2MC, covariance_penalty, suggest_weights, variance_hinge


class Data(NamedTuple):
    """Images (n, 1, 8, 8) in [0, 1] with labels (n,)."""

    images: Tensor
    labels: Tensor


class Model(nn.Module):
    """Backbone, projector, and a probe that sees detached features."""

    def __init__(self, width: int = 16, embedding: int = 128) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width)),
            *(nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        )
        self.projector = nn.Sequential(
            *(nn.Linear(8 * width, embedding), nn.BatchNorm1d(embedding), nn.ReLU()),
            nn.Linear(embedding, embedding),
        )
        self.probe = nn.Linear(8 * width, 10)


def digits() -> tuple[Data, Data]:
    """Training and test halves of scikit-learn's 1,797 digits."""
    loaded: Any = load_digits()
    images = torch.tensor(loaded.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(loaded.target)
    return Data(images[::2], labels[::2]), Data(images[1::2], labels[1::2])


def augment(images: Tensor) -> Tensor:
    """Another view: shifted by up to a pixel, in another contrast, with noise."""
    n = len(images)
    moves = torch.eye(2, 3).repeat(n, 1, 1)
    moves[:, :, 2] = 0.5 * torch.rand(n, 2) - 0.25  # of the half width, so up to one pixel
    grid = F.affine_grid(moves, list(images.shape), align_corners=False)
    shifted = F.grid_sample(images, grid, align_corners=False)
    contrast = 0.6 + 0.8 * torch.rand(n, 1, 1, 1)
    return shifted * contrast + 0.1 * torch.randn_like(images)


def batches(data: Data, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order, full batches only."""
    for rows in torch.randperm(len(data.labels)).split(size):
        if len(rows) == size:
            yield data.images[rows], data.labels[rows]


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """The base loss: 25 invariance + 25 variance + covariance."""
    variance = (variance_hinge(a) + variance_hinge(b)) / 2
    return 25 * F.mse_loss(a, b) + 25 * variance + covariance_penalty(a) + covariance_penalty(b)


def train(
    model: Model, data: Data, epochs: int, learning_rate: float, criterion: E2MC | None = None
) -> None:
    """Train in place; the criterion's weights are measured on the first batch."""
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9, weight_decay=1e-4)
    watch = criterion or E2MC("hypercube", entropy_weight=1.0, covariance_weight=1.0)
    measured = False
    for epoch in range(epochs):
        for images, labels in batches(data, 128):
            features = [model.backbone(augment(images)) for _ in range(2)]
            views = [model.projector(h) for h in features]
            loss = base = vicreg(*views)
            if criterion is not None:
                if not measured:
                    criterion.weights = suggest_weights(base, views, criterion, share=0.3)
                    measured = True
                loss = base + criterion(views)
            probe = F.cross_entropy(model.probe(features[0].detach()), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss + probe)
            optimizer.step()
        if epoch % 10 == 9 or epoch == epochs - 1:
            with torch.no_grad():
                entropy = watch.terms(views)["entropy"]
            print(f"  epoch {epoch + 1:3}: base loss {base.item():6.3f}, entropy {entropy:+.4f}")


@torch.no_grad()
def accuracy(model: Model, data: Data) -> float:
    """Of the probe, on clean images."""
    model.eval()
    correct = model.probe(model.backbone(data.images)).argmax(dim=1) == data.labels
    model.train()
    return float(correct.float().mean())


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Run all three trainings; returns the probe's test accuracy after each."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help="of the base model")
    parser.add_argument("--further", type=int, default=10, help="epochs of each continuation")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    training, test = digits()
    base = Model()
    print("VICReg from scratch")
    train(base, training, options.epochs, learning_rate=0.02)
    results = {"base": accuracy(base, test)}
    for name, criterion in (("continued", None), ("E2MC", E2MC("hypercube", 1.0, "auto"))):
        print(f"going on from it: {name}")
        torch.manual_seed(options.seed + 1)  # the same batches and views for both
        model = copy.deepcopy(base)
        train(model, training, options.further, learning_rate=0.002, criterion=criterion)
        results[name] = accuracy(model, test)
    print(*(f"{name}: {100 * value:.2f} %" for name, value in results.items()), sep="\n")
    return results


if __name__ == "__main__":
    main()
