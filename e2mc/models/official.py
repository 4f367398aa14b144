"""The three official checkpoint layouts: imported without executing code, and written.

    VICReg    {epoch, model, optimizer}, keys `module.backbone.*`, `module.projector.*`
    SwAV      a flat state dict, keys `module.*`, `module.projection_head.*`, `module.prototypes.*`
    SimSiam   {epoch, arch, state_dict, optimizer}, keys `module.encoder.*`,
              `module.encoder.fc.*` (the projector), `module.predictor.*`

Base models that an experiment trains from scratch are written in the layout of their method (`er`
and `mi` in VICReg's) and imported again, so that every base passes through the same importer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.errors import E2MCError
from e2mc.files import sha256
from e2mc.models.heads import Recipe, build_network, read_recipe
from e2mc.models.pickled import exclude_bias_and_norm, read_pickled, write_pickled
from e2mc.models.store import MOMENTUM, refuse_differences, save_model


class Layout(NamedTuple):
    """Where an official file keeps the weights, and how it names them."""

    entry: str | None
    """Key of the state dict in the file; None: the file is the state dict."""
    prefixes: dict[str, str]
    """Our prefix -> the official one."""


_VICREG = Layout("model", {"backbone.": "module.backbone.", "projector.": "module.projector."})
LAYOUTS = {
    "vicreg": _VICREG,
    "er": _VICREG,
    "mi": _VICREG,
    "swav": Layout(
        None,
        {
            "backbone.": "module.",
            "projector.": "module.projection_head.",
            "prototypes.": "module.prototypes.",
        },
    ),
    "simsiam": Layout(
        "state_dict",
        {
            "backbone.": "module.encoder.",
            "projector.": "module.encoder.fc.",
            "predictor.": "module.predictor.",
        },
    ),
}
"""Layouts by method, from the official repositories' training scripts."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def official_name(method: str, name: str) -> str | None:
    """A key of our state dict in the official layout; None if that has no place for it."""
    for ours, official in LAYOUTS[method].prefixes.items():
        if name.startswith(ours):
            return official + name.removeprefix(ours)
    return None


def import_checkpoint(
    source: Path | str,
    method: str,
    recipe: Mapping[str, Any],
    backbone: Backbone,
    destination: Path | str,
) -> None:
    """Turn an official checkpoint into a safetensors file with our keys, executing nothing.

    Every key must fit; absent BatchNorm step counters alone are tolerated, and set to zero. LARS
    momentum goes along under `momentum.<parameter>` if the recipe says `restore_momentum`. SwAV's
    files hold no queue: it starts empty. The metadata records `method`, `source` (file name),
    `source_sha256` and, where the file has it, `epoch`.

    Args:
        source: official checkpoint, in torch's zip or older format.
        method: the method that trained it.
        recipe: `methods.<method>`: widths, queue length, `restore_momentum`.
        backbone: shape of the trunk.
        destination: safetensors file to write.

    Raises:
        E2MCError: a missing, damaged or unsafe file, another layout, tensors that are missing,
            unexpected or misshapen, or no momentum where the recipe asks for it.
    """
    source, typed = Path(source), read_recipe(method, recipe)
    with torch.device("meta"):
        network = nn.ModuleDict(build_network(typed, backbone))
    content = read_pickled(source)
    state = _renamed(_weights(content, method, source), network, method, source)
    state |= _beside_weights(typed, content, network, source)
    metadata = {"method": method, "source": source.name, "source_sha256": sha256(source)}
    if "epoch" in content:
        metadata["epoch"] = str(content["epoch"])
    save_model(state, destination, metadata)


def _renamed(
    weights: Mapping[str, Tensor], network: nn.Module, method: str, source: Path
) -> dict[str, Tensor]:
    """Official weights under our names, after a check that they are exactly the network's."""
    shapes = network.state_dict()
    names = {name: official_name(method, name) or name for name in shapes}
    refuse_differences({names[name]: shape for name, shape in shapes.items()}, weights, source)
    return {name: weights.get(official, torch.tensor(0)) for name, official in names.items()}


def _beside_weights(
    recipe: Recipe, content: Mapping[str, Any], network: nn.Module, source: Path
) -> dict[str, Tensor]:
    if isinstance(recipe, recipes.SwAV) and recipe.queue_length:
        shape = (recipe.views.full_views, recipe.queue_length, recipe.projector[-1])
        return {"queue": torch.zeros(shape)}
    if isinstance(recipe, recipes.VICReg) and recipe.restore_momentum:
        return _momentum(content, network, source)
    return {}


def _momentum(content: Mapping[str, Any], network: nn.Module, source: Path) -> dict[str, Tensor]:
    """LARS momentum by our parameter names, which come in the order of the official ones."""
    expected = {MOMENTUM + name: tensor for name, tensor in network.named_parameters()}
    try:
        optimizer = content["optimizer"]
        order = [index for group in optimizer["param_groups"] for index in group["params"]]
        buffers = [optimizer["state"][index]["mu"] for index in order]
    except (KeyError, TypeError) as error:
        raise E2MCError(
            f"{source} holds no complete LARS momentum (optimizer state `mu`): "
            "set `methods.vicreg.restore_momentum: false` to start from zero momentum"
        ) from error
    if len(buffers) != len(expected):
        raise E2MCError(
            f"{source} holds LARS momentum for {len(buffers)} parameters, the model has "
            f"{len(expected)}: set `methods.vicreg.restore_momentum: false` to do without"
        )
    momentum = dict(zip(expected, buffers, strict=True))
    refuse_differences(expected, momentum, source)
    return momentum


def _weights(content: Any, method: str, source: Path) -> dict[str, Tensor]:
    """The state dict inside a file of the method's layout."""
    entry = LAYOUTS[method].entry
    weights = content if entry is None or not isinstance(content, Mapping) else content.get(entry)
    if (
        isinstance(weights, Mapping)
        and weights
        and all(isinstance(tensor, Tensor) for tensor in weights.values())
    ):
        return dict(weights)
    wanted = "a flat dictionary of tensors" if entry is None else f"a dictionary with `{entry}`"
    raise E2MCError(
        f"{source} is not an official {method} checkpoint: expected {wanted}, found "
        f"{_describe(content)}"
    )


def _describe(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"an object of type {type(content).__name__}"
    found = "keys " + ", ".join(f"`{key}`" for key in list(content)[:4])
    found += f" and {len(content) - 4} more" if len(content) > 4 else ""
    layouts = [
        method
        for method, layout in LAYOUTS.items()
        if layout.entry in content or (layout.entry is None and "module.conv1.weight" in content)
    ]
    if layouts:
        return f"{found}: the layout of {' or '.join(layouts)}"
    if "conv1.weight" in content:
        return f"{found}: a trunk without its projector, which cannot be trained further"
    return found


def export_official(
    module_state: Mapping[str, Tensor],
    method: str,
    epoch: int,
    path: Path | str,
    optimizer_momentum: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model in the official layout of its method, atomically; equal input, equal bytes.

    Args:
        module_state: state dict of a method, in its own order. What the layout has no place for
            (SwAV's queue) is left out.
        method: the method.
        epoch: finished epochs. SwAV's released files hold none.
        path: file to write.
        optimizer_momentum: momentum buffers by parameter name: VICReg's `mu`, SimSiam's
            `momentum_buffer`; SwAV's released files hold none. The optimizer's constants (rate,
            decay) are not written.
    """
    named = {name: official_name(method, name) for name in module_state}
    weights = {
        official: module_state[name].detach().cpu().contiguous()
        for name, official in named.items()
        if official is not None
    }
    parameters = [name for name in named if named[name] and not name.endswith(_BUFFERS)]
    momentum = optimizer_momentum or {}
    if method == "swav":
        write_pickled(weights, path)
    elif method == "simsiam":
        optimizer = _optimizer(parameters, momentum, "momentum_buffer", {})
        content = {"epoch": epoch, "arch": "resnet50", "state_dict": weights}
        write_pickled(content | {"optimizer": optimizer}, path)
    else:
        filters = ("weight_decay_filter", "lars_adaptation_filter")
        optimizer = _optimizer(
            parameters, momentum, "mu", dict.fromkeys(filters, exclude_bias_and_norm)
        )
        write_pickled({"epoch": epoch, "model": weights, "optimizer": optimizer}, path)


def _optimizer(
    parameters: list[str], momentum: Mapping[str, Tensor], key: str, group: dict[str, Any]
) -> dict[str, Any]:
    """An optimizer's state dict: buffers by the parameter's index, and one group."""
    state = {
        index: {key: momentum[name].detach().cpu().contiguous()}
        for index, name in enumerate(parameters)
        if name in momentum
    }
    return {"state": state, "param_groups": [group | {"params": list(range(len(parameters)))}]}
