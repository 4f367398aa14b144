"""Official checkpoint files: imported without executing code, and written.

Each method says how its files are laid out (`Method.layout`). Base models that an experiment trains
from scratch are written in the layout of their method (`er` and `mi` in VICReg's) and imported
again, so that every base passes through the same importer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e2mc.config.methods import RECIPES, Backbone, Recipe
from e2mc.errors import E2MCError
from e2mc.files import check, sha256
from e2mc.methods import Method, build_method, method_class
from e2mc.models.pickled import read_pickled, write_pickled
from e2mc.models.store import MOMENTUM, refuse_differences, save_model


def import_checkpoint(
    source: Path | str, recipe: Recipe, backbone: Backbone, destination: Path | str
) -> None:
    """Turn an official checkpoint into a safetensors file with our keys, executing nothing.

    Every key must fit; absent BatchNorm step counters alone are tolerated, and set to zero. LARS
    momentum goes along under `momentum.<parameter>` if the recipe says `restore_momentum`. What
    the layout has no place for (SwAV's queue) starts at zero. The metadata records `method`,
    `source` (file name), `source_sha256` and, where the file has it, `epoch`.

    Args:
        source: official checkpoint, in torch's zip or older format.
        recipe: of the method that trained it.
        backbone: shape of the trunk.
        destination: safetensors file to write.

    Raises:
        E2MCError: a missing, damaged or unsafe file, another layout, tensors that are missing,
            unexpected or misshapen, or no momentum where the recipe asks for it.
    """
    source = Path(source)
    with torch.device("meta"):
        module = build_method(recipe, backbone)
    check(source)
    content = read_pickled(source)
    state = _renamed(_weights(content, module, source), module, source)
    if recipe.restores_momentum:
        state |= _momentum(content, module, source)
    metadata = {"method": module.name, "source": source.name, "source_sha256": sha256(source)}
    if "epoch" in content:
        metadata["epoch"] = str(content["epoch"])
    save_model(state, destination, metadata)


def _renamed(weights: Mapping[str, Tensor], module: Method, source: Path) -> dict[str, Tensor]:
    """Official weights under our names, after a check that they are exactly the module's."""
    expected = module.state_dict()
    names = {name: module.layout.official(name) for name in expected}
    held = {official: expected[name] for name, official in names.items() if official}
    refuse_differences(held, weights, source)
    return {
        name: weights.get(official, torch.tensor(0))
        if official
        else torch.zeros_like(expected[name], device="cpu")
        for name, official in names.items()
    }


def _momentum(content: Mapping[str, Any], module: Method, source: Path) -> dict[str, Tensor]:
    """LARS momentum by our parameter names, in the order of the official optimizer."""
    key = module.layout.momentum
    remedy = f"set `methods.{module.name}.restore_momentum: false` to start from zero momentum"
    parameters = dict(module.named_parameters())
    names = [name for group in module.official_groups() for name in group]
    expected = {MOMENTUM + name: parameters[name] for name in names}
    try:
        optimizer = content["optimizer"]
        order = [index for group in optimizer["param_groups"] for index in group["params"]]
        buffers = [optimizer["state"][index][key] for index in order]
    except (KeyError, TypeError) as error:
        raise E2MCError(
            f"{source} holds no complete LARS momentum (optimizer state `{key}`): {remedy}"
        ) from error
    if len(buffers) != len(expected):
        raise E2MCError(
            f"{source} holds LARS momentum for {len(buffers)} parameters, the model has "
            f"{len(expected)}: {remedy}"
        )
    momentum = dict(zip(expected, buffers, strict=True))
    refuse_differences(expected, momentum, source)
    return momentum


def _weights(content: Any, module: Method, source: Path) -> dict[str, Tensor]:
    """The state dict inside a file of the method's layout."""
    entry = module.layout.entry
    weights = content if entry is None or not isinstance(content, Mapping) else content.get(entry)
    if (
        isinstance(weights, Mapping)
        and weights
        and all(isinstance(tensor, Tensor) for tensor in weights.values())
    ):
        return dict(weights)
    wanted = "a flat dictionary of tensors" if entry is None else f"a dictionary with `{entry}`"
    raise E2MCError(
        f"{source} is not an official {module.name} checkpoint: expected {wanted}, found "
        f"{_describe(content)}"
    )


def _describe(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"an object of type {type(content).__name__}"
    found = "keys " + ", ".join(f"`{key}`" for key in list(content)[:4])
    found += f" and {len(content) - 4} more" if len(content) > 4 else ""
    layouts = [
        name
        for name, recipe in RECIPES.items()
        if (entry := method_class(recipe).layout.entry) in content
        or (entry is None and "module.conv1.weight" in content)
    ]
    if layouts:
        return f"{found}: the layout of {' or '.join(layouts)}"
    if "conv1.weight" in content:
        return f"{found}: a trunk without its projector, which cannot be trained further"
    return found


def export_official(
    module: Method, epoch: int, path: Path | str, momentum: Mapping[str, Tensor] | None = None
) -> None:
    """Write a model in the official layout of its method, atomically; equal input, equal bytes.

    What the layout has no place for (SwAV's queue) is left out.

    Args:
        module: the model.
        epoch: finished epochs. SwAV's released files hold none.
        path: file to write.
        momentum: momentum buffers by parameter name. SwAV's released files hold none. The
            optimizer's constants (rate, decay) are not written.
    """
    layout = module.layout
    weights = {
        official: tensor.detach().cpu().contiguous()
        for name, tensor in module.state_dict().items()
        if (official := layout.official(name)) is not None
    }
    if layout.entry is None:
        write_pickled(weights, path)
        return
    content = {"epoch": epoch, **layout.header, layout.entry: weights}
    write_pickled(content | {"optimizer": _optimizer(module, momentum or {})}, path)


def _optimizer(module: Method, momentum: Mapping[str, Tensor]) -> dict[str, Any]:
    """An optimizer's state dict: buffers by the parameter's index, and the groups."""
    groups = module.official_groups()
    names = [name for group in groups for name in group]
    state = {
        index: {module.layout.momentum: momentum[name].detach().cpu().contiguous()}
        for index, name in enumerate(names)
        if name in momentum
    }
    indices = iter(range(len(names)))
    described = [
        {**module.layout.group, "params": [next(indices) for _ in group]} for group in groups
    ]
    return {"state": state, "param_groups": described}
