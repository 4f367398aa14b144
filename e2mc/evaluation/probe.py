"""Softmax regression by momentum SGD on cached views: the engine of linear evaluation.

No autograd and no torch.optim: one step is two matrix products and a handful of element-wise
passes, and importing torch's optimizers takes longer than a small probe.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.fits import LinearFit
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.evaluation.results import Epoch, refuse_diverged
from e2mc.evaluation.schedule import epoch_rate
from e2mc.evaluation.streams import View, Views, best_device, converted, copied
from e2mc.training.optim import larc_factor

MOMENTUM = 0.9
TRUST = 0.001
"""LARC's trust coefficient (SimSiam's official `main_lincls.py`)."""

TEST_ROWS = 4096


class Head(NamedTuple):
    """One linear classifier: its recipe, and the seed of its first weights and its batches."""

    fit: LinearFit
    seed: int


class FittedHead(NamedTuple):
    """A trained classifier.

    Attributes:
        weight: (classes, dim).
        bias: (classes,).
        history: one entry per epoch.
        predictions: (test samples,), after the last epoch.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    history: list[Epoch]
    predictions: NDArray[np.int64]


def fit_heads(
    view: View,
    views: int,
    labels: NDArray[np.int64],
    test_x: NDArray[Any],
    test_y: NDArray[np.int64],
    classes: int,
    heads: Sequence[Head],
    *,
    precision: str = "float32",
) -> list[FittedHead]:
    """Train linear classifiers side by side in one pass over the views.

    With as many views as epochs this is the online protocol, on features rounded as they are
    stored. Arguments beside those of :class:`Probe`:

    Args:
        view: loads the features of one view, (n, dim).
        views: number of views; epoch e uses view e modulo that.
    """
    probe = Probe(labels, test_x, test_y, classes, heads, precision=precision)
    stream = Views(view, views, probe.epochs, probe.device, probe.product)
    for epoch in range(probe.epochs):
        probe.train(stream.epoch(epoch))
    return probe.fitted()


class Probe:
    """Linear classifiers that are trained side by side, one epoch at a time.

    Softmax regression as the official probes do it: weights from N(0, 0.01), biases zero, no
    Nesterov, no dampening, weight decay on both, the last partial batch kept. Each head ends as
    it would alone: its seed fixes its first weights and its batches in every epoch.

    Args:
        labels: (n,), class numbers.
        test_x: (m, dim).
        test_y: (m,).
        classes: number of classes.
        heads: recipes and seeds; batch size, epochs and rule must be the same for all. Heads of
            one seed share their matrix products.
        precision: `float32`; or `bfloat16` products with float32 weights, momentum and softmax,
            twice to four times as fast where the processor has such instructions (the last
            epoch's predictions are float32 products all the same). Float64 features are
            computed in float64.

    Attributes:
        epochs: in all.
        done: epochs trained.
        device: where features are expected.
        product: type of the products.

    Raises:
        E2MCError: heads that cannot share a pass, or a class number out of range.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        test_x: NDArray[Any],
        test_y: NDArray[np.int64],
        classes: int,
        heads: Sequence[Head],
        *,
        precision: str = "float32",
    ) -> None:
        _check(labels, classes, heads)
        self.heads, self.device = heads, best_device()
        self.epochs, self.done = heads[0].fit.epochs, 0
        self._test, self._test_y = copied(test_x, self.device), test_y
        self._targets = copied(labels, self.device)
        self._exact = torch.promote_types(self._test.dtype, torch.float32)
        self.product = torch.bfloat16 if precision == "bfloat16" else self._exact
        self._seen = self._test  # kept as float16 where it is, and converted block by block
        if self.product == torch.bfloat16:
            blocks = torch.split(self._test, TEST_ROWS)
            self._seen = torch.cat([converted(block, self.product) for block in blocks])
        shape = (classes, self._test.shape[1])
        self._groups = [
            _Group(
                [head for head in heads if head.seed == seed],
                shape,
                self._exact,
                self.product,
                self.device,
            )
            for seed in dict.fromkeys(head.seed for head in heads)
        ]

    @torch.inference_mode()
    def train(self, features: Tensor) -> None:
        """One epoch on all samples as it sees them, (n, dim), and a test after it.

        Raises:
            E2MCError: a loss that is not finite.
        """
        if self.product == torch.bfloat16:
            features = converted(features, self.product)
        last = self.done == self.epochs - 1
        for group in self._groups:
            group.train(features, self._targets, self.done)
            if last:
                group.test(self._test, self._test_y, self._exact)
            else:
                group.test(self._seen, self._test_y, self.product)
        self.done += 1

    def fitted(self) -> list[FittedHead]:
        """The classifiers as they are now, in the order of their recipes."""
        found = {head: result for group in self._groups for head, result in group.fitted()}
        return [found[head] for head in self.heads]

    def state_dict(self) -> dict[str, Any]:
        """All that changes from epoch to epoch, as tensors and plain values."""
        return {"done": self.done, "groups": [group.state_dict() for group in self._groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same recipes, seeds and samples."""
        self.done = state["done"]
        for group, own in zip(self._groups, state["groups"], strict=True):
            group.load_state_dict(own)


def _check(labels: NDArray[np.int64], classes: int, heads: Sequence[Head]) -> None:
    for field in ("batch_size", "epochs", "rule"):
        if len({getattr(head.fit, field) for head in heads}) != 1:
            raise E2MCError(f"heads that train together need one `{field}`: fit them one by one")
    if labels.size == 0 or labels.min() < 0 or labels.max() >= classes:
        raise E2MCError(
            f"a probe of {classes} classes needs training labels from 0 to {classes - 1}"
        )


class _Group:
    """Heads of one seed: they see the same batches, so one product serves them all."""

    def __init__(
        self,
        heads: Sequence[Head],
        shape: tuple[int, int],
        exact: torch.dtype,
        product: torch.dtype,
        device: torch.device,
    ) -> None:
        self.heads = heads
        generator = torch.Generator().manual_seed(heads[0].seed)
        weight = torch.empty(shape, dtype=exact).normal_(0, 0.01, generator=generator)
        self.weight = weight.to(device).repeat(len(heads), 1, 1)
        self.bias = self.weight.new_zeros(len(heads), shape[0])
        self.parameters = (
            (self.weight, torch.zeros_like(self.weight)),
            (self.bias, torch.zeros_like(self.bias)),
        )
        self.operand = self.weight.to(product)
        self.products = torch.empty_like(self.operand)
        self.larc = heads[0].fit.rule == "larc"
        self.minus_one = self.weight.new_full((heads[0].fit.batch_size, len(heads), 1), -1.0)
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.history: list[list[Epoch]] = [[] for _ in heads]
        self.predictions = np.empty((len(heads), 0), np.int64)

    def train(self, features: Tensor, targets: Tensor, epoch: int) -> None:
        """One epoch of updates."""
        fit = self.heads[0].fit
        self.rates = [
            epoch_rate(head.fit.learning_rate, epoch, fit.epochs, head.fit.milestones)
            for head in self.heads
        ]
        rows, seed = np.arange(len(targets)), self.heads[0].seed
        order = np.concatenate(epoch_batches(rows, fit.batch_size, seed, epoch))
        loss = self.bias.new_zeros(len(self.heads))
        for batch in torch.split(copied(order, features.device), fit.batch_size):
            x = features.index_select(0, batch).to(self.operand.dtype)
            loss += self._step(x, targets.index_select(0, batch))
        self.losses = (loss / len(targets)).tolist()
        for value, rate in zip(self.losses, self.rates, strict=True):
            refuse_diverged(value, f"the linear probe at learning rate {rate:g}", epoch + 1)

    def test(self, x: Tensor, labels: NDArray[np.int64], product: torch.dtype) -> None:
        """Classify the test samples and add the epoch to the history."""
        operand = self.weight.to(product)
        found = [
            self._logits(converted(block, product), operand).argmax(dim=2)
            for block in torch.split(x, TEST_ROWS)
        ]
        self.predictions = torch.cat(found).T.cpu().numpy()
        for at, predicted in enumerate(self.predictions):
            top1 = 100 * float(np.mean(predicted == labels))
            number = len(self.history[at]) + 1
            self.history[at].append(Epoch(number, top1, self.losses[at], self.rates[at]))

    def fitted(self) -> Iterator[tuple[Head, FittedHead]]:
        """The heads as they are now."""
        weights, biases = self.weight.cpu().numpy(), self.bias.cpu().numpy()
        for at, head in enumerate(self.heads):
            yield (
                head,
                FittedHead(weights[at], biases[at], self.history[at], self.predictions[at]),
            )

    def state_dict(self) -> dict[str, Any]:
        """Weights, momentum and what they have led to."""
        return {
            "parameters": [list(pair) for pair in self.parameters],
            "history": [[list(epoch) for epoch in epochs] for epochs in self.history],
            "predictions": torch.from_numpy(self.predictions),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same heads."""
        for own, saved in zip(self.parameters, state["parameters"], strict=True):
            for tensor, value in zip(own, saved, strict=True):
                tensor.copy_(value)
        self.operand.copy_(self.weight)
        self.history = [[Epoch(*epoch) for epoch in epochs] for epochs in state["history"]]
        self.predictions = state["predictions"].cpu().numpy()

    def _logits(self, x: Tensor, operand: Tensor) -> Tensor:
        """(n, heads, classes)."""
        products = (x @ operand.flatten(0, 1).T).to(self.bias.dtype)
        return products.view(len(x), *self.bias.shape).add_(self.bias)

    def _step(self, x: Tensor, labels: Tensor) -> Tensor:
        """One update; returns the summed loss of each head before it, (heads,)."""
        target = labels.view(-1, 1, 1).expand(-1, len(self.heads), 1)
        logits = self._logits(x, self.operand)
        of_target, largest = logits.gather(2, target)[..., 0], logits.amax(dim=2)
        # exp() of a log-softmax takes ten times as long where it underflows.
        error = torch.softmax(logits, dim=2)
        loss = (largest - error.amax(dim=2).log() - of_target).sum(0)
        error.scatter_add_(2, target, self.minus_one[: len(x)]).mul_(1 / len(x))
        # Into the same memory every time: fresh pages would cost a tenth of the step.
        torch.mm(error.flatten(1).to(x.dtype).T, x, out=self.products.flatten(0, 1))
        gradients = self.products.to(self.weight.dtype), error.sum(0)
        (self._larc if self.larc else self._sgd)(gradients)
        if self.operand is not self.weight:
            self.operand.copy_(self.weight)
        return loss

    def _sgd(self, gradients: tuple[Tensor, Tensor]) -> None:
        for (own, velocity), gradient in zip(self.parameters, gradients, strict=True):
            for at, head in enumerate(self.heads):
                # What torch.optim.SGD(fused=True) calls: decay, momentum and step in one pass.
                torch._fused_sgd_(
                    [own[at]],
                    [gradient[at]],
                    [velocity[at]],
                    weight_decay=head.fit.weight_decay,
                    momentum=MOMENTUM,
                    lr=self.rates[at],
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                    is_first_step=False,
                )

    def _larc(self, gradients: tuple[Tensor, Tensor]) -> None:
        """Apex LARC(clip=False): weight and bias of a head each by their own norms."""
        for (own, velocity), gradient in zip(self.parameters, gradients, strict=True):
            for at, head in enumerate(self.heads):
                decay = head.fit.weight_decay
                factor = larc_factor(own[at].norm(), gradient[at].norm(), decay, TRUST)
                direction = gradient[at].add(own[at], alpha=decay).mul_(factor)
                velocity[at].mul_(MOMENTUM).add_(direction)
                own[at].add_(velocity[at], alpha=-self.rates[at])
