"""LARS, LARC and momentum SGD: three update rules, one optimizer.

The rules differ only in how a gradient g and a parameter p make the direction that enters the
momentum buffer:

    SGD     g + decay p
    LARS    (g + decay p) * trust |p| / |g + decay p|,             1-d parameters: g
    LARC    (g + decay p) * trust |p| / (|g| + decay |p| + 1e-8),  1-d parameters alike

and then buffer = momentum * buffer + direction, p = p - lr * buffer. Clipped, the factor of
(g + decay p) is min(factor / lr, 1).
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from e2mc.config.methods import Optimizer

LARC_EPSILON = 1e-8


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rates, as VICReg's LARS or as apex LARC over SGD.

    Sources: VICReg `main_vicreg.py` (adapt_1d=False); apex `LARC.py` around `torch.optim.SGD`
    (adapt_1d=True), with clip=False as SwAV uses it; solo-learn `solo/utils/lars.py`, from
    Lightning Bolts (summed_norms=True; its `clip_lars_lr` is clip, its
    `exclude_bias_n_norm_lars=True` is adapt_1d=False, its `eta` is trust). No Nesterov, no
    dampening. Gradients are left as they are (apex overwrites them).

    Zero norms: LARS takes the factor 1. LARC leaves the gradient unscaled and undecayed.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, outside the momentum buffer.
        momentum: momentum.
        weight_decay: L2 penalty added to the gradient.
        trust: trust coefficient; None switches the adaptation off, which leaves plain SGD.
        adapt_1d: False: parameters with one dimension (biases, BatchNorm) are neither decayed
            nor adapted (VICReg). True: all are treated alike (LARC).
        clip: never move a parameter faster than plain SGD at this rate.
        summed_norms: True: the trust ratio divides by |g| + decay |p| + 1e-8 (LARC); False: by
            |g + decay p| (VICReg). None: as ``adapt_1d``.
    """

    # torch wraps these so that torch.compile passes over them, and the first call of a wrapper
    # imports torch._dynamo: 3 s in every training process of the demo.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float | None = 0.001,
        adapt_1d: bool = False,
        clip: bool = False,
        summed_norms: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust": trust,
                "adapt_1d": adapt_1d,
                "clip": clip,
                "summed_norms": adapt_1d if summed_norms is None else summed_norms,
            },
        )

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            decayed = [p for p in parameters if _is_decayed(p, group)]
            rest = [p for p in parameters if not _is_decayed(p, group)]
            directions = _directions(decayed, group) + [p.grad for p in rest]
            parameters = decayed + rest
            if parameters:
                buffers = [self._buffer(p) for p in parameters]
                torch._foreach_mul_(buffers, group["momentum"])
                torch._foreach_add_(buffers, directions)
                torch._foreach_add_(parameters, buffers, alpha=-group["lr"])
        return loss

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _is_decayed(parameter: Tensor, group: Mapping[str, Any]) -> bool:
    return group["trust"] is None or group["adapt_1d"] or parameter.ndim != 1


def _directions(parameters: Sequence[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
    """Decayed and, unless ``trust`` is None, adapted gradients."""
    if not parameters:
        return []
    gradients = [p.grad for p in parameters if p.grad is not None]
    decay, trust = group["weight_decay"], group["trust"]
    directions = list(torch._foreach_add(gradients, list(parameters), alpha=decay))
    if trust is None:
        return directions
    weight = torch.stack(torch._foreach_norm(list(parameters)))
    rate = group["lr"] if group["clip"] else None
    if group["summed_norms"]:
        gradient = torch.stack(torch._foreach_norm(gradients))
        factor = larc_factor(weight, gradient, decay, trust, rate)
    else:
        direction = torch.stack(torch._foreach_norm(directions))
        factor = _clipped(trust * weight / direction, rate)
        factor = torch.where((weight == 0) | (direction == 0), 1.0, factor)
    torch._foreach_mul_(directions, list(factor.unbind()))
    return directions


def larc_factor(
    weight: Tensor, gradient: Tensor, decay: float, trust: float, clip_at: float | None = None
) -> Tensor:
    """What apex LARC multiplies a decayed gradient by.

    Where a norm is zero, apex neither scales nor decays the gradient: the factor is 1 for a zero
    weight, whose decay is zero, and 0 for a zero gradient.

    Args:
        weight: norms of the parameters, any shape.
        gradient: norms of their gradients before the decay, same shape.
        decay: weight decay.
        trust: trust coefficient.
        clip_at: learning rate at which the factor is clipped; None: not at all (clip=False).
    """
    factor = _clipped(trust * weight / (gradient + decay * weight + LARC_EPSILON), clip_at)
    factor = torch.where(gradient == 0, 0.0, factor)
    return torch.where(weight == 0, 1.0, factor)


def _clipped(factor: Tensor, rate: float | None) -> Tensor:
    """min(factor / rate, 1); at a rate of zero, where nothing moves, the limit 1."""
    if rate is None:
        return factor
    return (factor / rate).clamp(max=1.0) if rate > 0 else torch.ones_like(factor)


def build_optimizer(
    groups: Iterable[Mapping[str, Any]], optimizer: Optimizer, learning_rate: float
) -> LARS:
    """The optimizer of a recipe.

    Args:
        groups: parameter groups; one that brings its own ``lr`` keeps it whatever the schedule
            says (SimSiam's predictor, official `--fix-pred-lr`), one with a ``relative_rate``
            follows the schedule at that multiple of it.
        optimizer: rule and constants.
        learning_rate: effective rate of the other groups.
    """
    larc = optimizer.rule == "larc"
    return LARS(
        [{"relative_rate": 1.0, **group, "fixed_rate": "lr" in group} for group in groups],
        lr=learning_rate,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
        trust=None if optimizer.rule == "sgd" else optimizer.trust,
        adapt_1d=larc if optimizer.adapt_1d is None else optimizer.adapt_1d,
        clip=optimizer.clip,
        summed_norms=larc,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group that follows the schedule this rate, or its multiple of it."""
    for group in optimizer.param_groups:
        if not group["fixed_rate"]:
            group["lr"] = learning_rate * group["relative_rate"]


def momentum_of(optimizer: LARS, module: nn.Module) -> dict[str, Tensor]:
    """Momentum buffers by parameter name, of those parameters that have one."""
    return {
        name: optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
    }


def set_momentum(optimizer: LARS, module: nn.Module, momentum: Mapping[str, Tensor]) -> None:
    """Start from given momentum buffers.

    Args:
        optimizer: optimizer of the module's parameters.
        module: the module.
        momentum: parameter name -> buffer; a name or shape that the module does not have is an
            error, a parameter that is not named starts from zero.

    Raises:
        ValueError: an unknown name or another shape.
    """
    parameters = dict(module.named_parameters())
    for name, buffer in momentum.items():
        if name not in parameters or parameters[name].shape != buffer.shape:
            raise ValueError(f"momentum of '{name}', {tuple(buffer.shape)}, fits no parameter")
        parameter = parameters[name]
        optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
