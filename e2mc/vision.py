"""The one module that imports torchvision.

Two remedies, both only where they are needed:

- The torchvision wheel of the package index is linked to CUDA. Beside a CPU-only torch its
  binary does not load and the import fails with "operator torchvision::nms does not exist".
  The missing operator schemas are then declared and the import is tried again.
  ``torchvision.io`` and ``ops.nms`` stay unusable; images are decoded with Pillow.
- ``torchvision.ops.roi_align`` imports torch's whole compiler for one predicate: three seconds
  of every process. Nothing here calls that operator, so while torchvision is being imported
  the predicate comes from a stand-in that answers "not supported".
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []


@contextmanager
def _without_compiler() -> Iterator[None]:
    if "torch._dynamo" in sys.modules:
        yield
        return
    package, utils = ModuleType("torch._dynamo"), ModuleType("torch._dynamo.utils")
    package.__path__ = []
    utils.is_compile_supported = lambda device_type: False  # type: ignore[attr-defined]
    stand_ins = {"torch._dynamo": package, "torch._dynamo.utils": utils}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _import_torchvision() -> ModuleType:
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(  # type: ignore[no-untyped-call]
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    _declared.append(library)  # schemas vanish with the library object
    return import_module("torchvision")


with _without_compiler():
    torchvision = _import_torchvision()
