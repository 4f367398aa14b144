"""What half precision does to E2MC's gradient, and whether a last layer in float32 mends it.

    python benchmarks/gradient_in_half_precision.py [--rows 512]

The projectors of VICReg and SwAV, at a quarter of their width, see random features of a trunk under
autocast. The gradient of the criterion, as config/paper.yaml weights it, is compared with that in
float32: relative L2 distance, of the embeddings' gradient and of all weights'. Beside it stands how
another batch differs. Half a minute of one core.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from e2mc.criteria import E2MC
from e2mc.methods.swav import swav_projector
from e2mc.methods.vicreg import vicreg_projector

FEATURES = 512
CASES: dict[str, tuple[Callable[[], nn.Sequential], E2MC]] = {
    "vicreg": (lambda: vicreg_projector(FEATURES, (2048,) * 3), E2MC("hypercube", 1000, 100)),
    "swav": (lambda: swav_projector(FEATURES, (512, 128)), E2MC("hypersphere", 1, 25)),
}
VARIANTS = {"whole projector": 0, "all but its last layer": 1, "its first layer alone": -1}
"""What is in half precision -> how many layers, from the end, are not; negative: from the start."""


def gradients(
    method: str, features: Tensor, dtype: torch.dtype, exact_layers: int
) -> tuple[Tensor, Tensor]:
    """Of the embeddings and of the weights; the first layers are under autocast."""
    torch.manual_seed(0)
    make, criterion = CASES[method]
    projector = make()
    split = len(projector) - exact_layers if exact_layers >= 0 else -exact_layers
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        hidden = projector[:split](features)
    embeddings = projector[split:](hidden.float())
    return differentiated(criterion, embeddings, projector)


def differentiated(criterion: E2MC, embeddings: Tensor, module: nn.Module) -> tuple[Tensor, Tensor]:
    embeddings.retain_grad()
    criterion([embeddings]).backward()
    assert embeddings.grad is not None
    weights = [one.grad for one in module.parameters() if one.grad is not None]
    return embeddings.grad, torch.cat([gradient.flatten() for gradient in weights])


def rounded_alone(method: str, dtype: torch.dtype, rows: int) -> float:
    """Normal embeddings, rounded and otherwise untouched."""
    found = []
    for each in (dtype, torch.float32):
        torch.manual_seed(0)
        embeddings = torch.randn(rows, 128).to(each).float().clone().requires_grad_()
        CASES[method][1]([embeddings]).backward()
        assert embeddings.grad is not None
        found.append(embeddings.grad)
    return error(*found)


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    torch.manual_seed(1)
    drawn = torch.relu(torch.randn(2 * rows, 64) @ torch.randn(64, FEATURES) / 8)
    features, others = drawn.chunk(2)
    print(f"torch {torch.__version__}, {rows} images: relative error of E2MC's gradient")
    print(f"{'':10}{'in half precision':26}{'':12}{'embeddings':>12}{'weights':>12}")
    for method in CASES:
        exact = gradients(method, features, torch.float32, 0)
        _, of_others = gradients(method, others, torch.float32, 0)
        differs = 100 * error(of_others, exact[1])
        print(f"{method:10}{'nothing, another batch':26}{'float32':12}{'':12}{differs:10.1f} %")
        for dtype in (torch.float16, torch.bfloat16):
            name = str(dtype).removeprefix("torch.")
            alone = rounded_alone(method, dtype, rows)
            print(f"{method:10}{'normal embeddings alone':26}{name:12}{100 * alone:10.1f} %")
            for variant, exact_layers in VARIANTS.items():
                found = gradients(method, features, dtype, exact_layers)
                errors = [error(*pair) for pair in zip(found, exact, strict=True)]
                columns = "".join(f"{100 * each:10.1f} %" for each in errors)
                print(f"{method:10}{variant:26}{name:12}{columns}", flush=True)


if __name__ == "__main__":
    main()
