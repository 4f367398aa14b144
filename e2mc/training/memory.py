"""What a training needs of a GPU's memory, found without one and without memory.

The network runs on torch's meta device, where tensors have shapes and no values; what autograd
would keep for the backward pass is added up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from e2mc.config.settings import TrainSettings
from e2mc.methods import build_method
from e2mc.methods.method import Method

COUNTED = (8, 16)
"""Batch sizes that are counted; their difference leaves out what a batch does not change."""

CONTEXT_BYTES = 10**9
"""CUDA's own context and the workspaces of cuDNN and cuBLAS: about so much on current GPUs."""

PER_PARAMETER = {"float32": 12, "bfloat16": 14, "float16": 14}
"""Weight, gradient and momentum in float32; autocast keeps a copy of the weights."""


class Memory(NamedTuple):
    """Bytes of one GPU in training: the least that it will take."""

    parameters: int
    """Weights, gradients and momentum."""
    per_image: int
    """Kept for the backward pass, and the views themselves."""
    images: int
    """Of one step on this GPU."""

    @property
    def bytes(self) -> int:
        """All of it."""
        return CONTEXT_BYTES + self.parameters + self.images * self.per_image


def memory_of(settings: TrainSettings, processes: int) -> Memory:
    """Of each GPU when so many processes, one a GPU, share the batch."""
    precision = settings.training.precision
    with torch.device("meta"):
        module = build_method(settings.recipe, settings.backbone)
    module.backbone.checkpointing = settings.training.checkpointing
    count = sum(parameter.numel() for parameter in module.parameters())
    if precision != "float32":
        module.to(getattr(torch, precision))  # what autocast makes of most of it
    few, many = (_kept(module, settings, images) for images in COUNTED)
    return Memory(
        parameters=count * PER_PARAMETER[precision],
        per_image=(many - few) // (COUNTED[1] - COUNTED[0]),
        images=-(-settings.training.batch_size // processes),
    )


def _kept(module: Method, settings: TrainSettings, images: int) -> int:
    """Bytes of a batch: its views, in float32, and what is kept for the backward pass."""
    recipe, sizes = settings.recipe.views, settings.images
    dtype = next(module.parameters()).dtype
    views = [
        torch.empty(images, 3, size, size, device="meta", dtype=dtype)
        for number, size in (
            (recipe.full_views, sizes.size),
            (recipe.small_views, sizes.small_size),
        )
        for _ in range(number)
    ]
    with _counted(module) as storages:
        kept = [module.embed(view) for view in views]
    del kept
    return sum(storages.values()) + sum(4 * view.numel() for view in views)


@contextmanager
def _counted(module: Method) -> Iterator[dict[int, int]]:
    """Storage -> bytes, of all that is kept for the backward pass."""
    storages: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # or its storage's number would be given again
        return tensor

    hooks = [
        stage.register_forward_pre_hook(lambda _, inputs: (keep(inputs[0]), None)[1])
        for stage in module.backbone.checkpointed()
    ]
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield storages
    for hook in hooks:
        hook.remove()
