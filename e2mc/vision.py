"""The one door through which torchvision is imported.

The torchvision wheel of the package index is linked to CUDA. Beside a CPU-only torch its
binary does not load and ``import torchvision`` fails with "operator torchvision::nms does
not exist". Only in that case the missing operator schemas are declared (nothing here calls
the operators themselves) and the import is tried again. ``torchvision.io`` and ``ops.nms``
stay unusable then; images are decoded with Pillow everywhere.
"""

import sys
from importlib import import_module
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []


def _import_torchvision() -> ModuleType:
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)  # schemas vanish with the library object
    return import_module("torchvision")


torchvision = _import_torchvision()
