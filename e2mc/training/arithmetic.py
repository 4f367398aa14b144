"""How a GPU computes: said once per process, before it is used; on a CPU nothing changes."""

import os

import torch

from e2mc.config.settings import OnGPU


def set_arithmetic(settings: OnGPU) -> None:
    """Choose the precision of float32 convolutions, and whether bits repeat.

    Matrix products are float32 in any case: those of the projector's last layer and of criteria
    whose gradients depend on small differences between embeddings.

    Args:
        settings: of the stage.
    """
    backends = torch.backends
    backends.cudnn.allow_tf32 = settings.tf32
    backends.cuda.matmul.allow_tf32 = False
    # all official scripts take the algorithm that is fastest at the moment, and so its rounding
    backends.cudnn.benchmark = not settings.deterministic
    backends.cudnn.deterministic = settings.deterministic
    if settings.deterministic and torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True, warn_only=True)
