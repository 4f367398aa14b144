"""The linear probe of iNaturalist 2018: BatchNorm on cached 2x2-pooled maps, then a classifier."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config.evaluation import INat18
from e2mc.config.fits import LinearFit
from e2mc.config.methods import Optimizer
from e2mc.config.settings import ProtocolSettings
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import Features, open_pair
from e2mc.evaluation.probe import MOMENTUM, TEST_ROWS, TRUST
from e2mc.evaluation.results import Epoch, refuse_diverged, write_classification
from e2mc.evaluation.schedule import epoch_rate
from e2mc.evaluation.streams import Views, best_device, copied
from e2mc.provenance import provenance
from e2mc.training.optim import build_optimizer, set_learning_rate


def inat18(
    settings: ProtocolSettings[INat18], train_index: Path, test_index: Path, output: Path
) -> None:
    """Train and write the probe (paper 5.3, B.2.3; e2mc `eval_linear.py --use_bn`).

    Args:
        settings: recipe and seed.
        train_index: `index.json` of the training maps.
        test_index: `index.json` of the test maps.
        output: the protocol's folder.

    Raises:
        E2MCError: features that do not belong together, are not 2x2 maps or not finite, or a
            probe that diverges.
    """
    train, test = open_pair(train_index, test_index)
    if train.kind != "quarters":
        raise E2MCError(f"{train_index} holds {train.kind} features; iNat18 is probed on 2x2 maps")
    history, predictions = fit_maps(train, test, settings.protocol.fit, settings.seed)
    write_classification(
        output,
        names=test.names,
        labels=test.labels,
        predictions=predictions,
        classes=len(train.classes),
        train_samples=len(train.names),
        provenance=provenance(
            settings.model_dump(mode="json"), {"train": train_index, "test": test_index}
        ),
        history=history,
        views=train.views,
    )


def build_head(dim: int, classes: int, seed: int) -> nn.Sequential:
    """BatchNorm per channel over the four positions, then a linear layer on all 4 D values."""
    linear = nn.Linear(dim, classes)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(linear.weight, 0, 0.01, generator=generator)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(
        nn.Unflatten(1, (dim // 4, 2, 2)),
        nn.BatchNorm2d(dim // 4),
        nn.Flatten(),
        linear,
    )


def fit_maps(
    train: Features, test: Features, fit: LinearFit, seed: int
) -> tuple[list[Epoch], NDArray[np.int64]]:
    """History, and predictions after the last epoch.

    Weight decay acts on everything, BatchNorm included, as in e2mc (VISSL exempts BatchNorm, uses
    Nesterov momentum and 5e-4).
    """
    device = best_device()
    head = build_head(train.dim, len(train.classes), seed).to(device)
    rule = Optimizer(rule=fit.rule, momentum=MOMENTUM, weight_decay=fit.weight_decay, trust=TRUST)
    optimizer = build_optimizer([{"params": list(head.parameters())}], rule, fit.learning_rate)
    views = Views(train.view, train.views, fit.epochs, device, torch.float32)
    targets, test_x = copied(train.labels, device), copied(test.whole(), device)
    rows, history = np.arange(len(train.labels)), []
    for epoch in range(fit.epochs):
        rate = epoch_rate(fit.learning_rate, epoch, fit.epochs, fit.milestones)
        set_learning_rate(optimizer, rate)
        features, total = views.epoch(epoch), torch.zeros((), device=device)
        head.train()
        for batch in epoch_batches(rows, fit.batch_size, seed, epoch):
            chosen = copied(batch, device)
            loss = F.cross_entropy(head(features[chosen].float()), targets[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            total += loss.detach() * len(batch)
        del features  # before the next view comes: two may not fit into a GPU
        mean = float(total) / len(rows)
        refuse_diverged(mean, "the iNat18 probe", epoch + 1)
        predictions = classify(head, test_x)
        top1 = 100 * float(np.mean(predictions == test.labels))
        history.append(Epoch(epoch + 1, top1, mean, rate))
    return history, predictions


@torch.inference_mode()
def classify(head: nn.Module, x: Tensor) -> NDArray[np.int64]:
    """Predicted classes, (n,)."""
    head.eval()
    found = [head(block.float()).argmax(dim=1) for block in torch.split(x, TEST_ROWS)]
    classes: NDArray[np.int64] = torch.cat(found).cpu().numpy()
    return classes
