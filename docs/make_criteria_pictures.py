"""Draws the pictures of docs/criteria.md: python docs/make_criteria_pictures.py (a minute)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from e2mc.criteria import (
    E2MC,
    Criterion,
    KoLeo,
    RadialVCReg,
    SIGReg,
    Uniformity,
    VCReg,
    VISReg,
    covariance_penalty,
    marginal_entropy,
    to_unit_cube,
)

IMAGES = Path(__file__).parent / "images"
POINTS = 512
WITNESSES: dict[str, Criterion] = {
    "E2MC": E2MC("hypersphere", 1.0, 25.0),
    "VCReg": VCReg(space="projector"),
    "uniformity (AUH)": Uniformity(),
    "SIGReg": SIGReg(),
    "VISReg": VISReg(),
    "KoLeo": KoLeo(),
    "Radial-VCReg": RadialVCReg(),
}


def optimise(start: Tensor, entropy_weight: float, covariance_weight: float) -> Tensor:
    """Free 2-d embeddings on the unit square after 300 steps of E2MC alone."""
    z = start.clone().requires_grad_()
    criterion = E2MC("hypercube", entropy_weight, covariance_weight)
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(criterion([z]))
        optimizer.step()
    return to_unit_cube(z.detach(), "hypercube")


def draw(clouds: dict[str, Tensor]) -> Figure:
    """Each cloud as a scatter plot with its two marginal histograms along the edges."""
    figure = plt.figure(figsize=(3 * len(clouds), 3.4), layout="constrained")
    for part, (title, u) in zip(figure.subfigures(1, len(clouds)), clouds.items(), strict=True):
        axes = part.subplot_mosaic(
            [["top", "."], ["points", "right"]], width_ratios=[4, 1], height_ratios=[1, 4]
        )
        axes["points"].scatter(*u.T.numpy(), s=4, color="tab:blue", linewidths=0)
        axes["points"].set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 1), yticks=(0, 1))
        edges = torch.linspace(0, 1, 17).numpy()
        axes["top"].hist(u[:, 0].numpy(), bins=edges, color="tab:gray")
        axes["right"].hist(u[:, 1].numpy(), bins=edges, color="tab:gray", orientation="horizontal")
        axes["top"].set(xlim=(0, 1), ylim=(0, POINTS / 5))
        axes["right"].set(ylim=(0, 1), xlim=(0, POINTS / 5))
        axes["top"].axis("off")
        axes["right"].axis("off")
        entropy = marginal_entropy(u).mean()
        correlation = torch.corrcoef(u.T)[0, 1]
        part.suptitle(title, fontsize=11)
        axes["points"].set_xlabel(
            f"entropy {entropy:.2f}, correlation {correlation:.2f}\n"
            f"covariance penalty {covariance_penalty(u):.1e}",
            fontsize=8,
        )
    return figure


def square_and_x(pairs: int) -> tuple[Tensor, Tensor]:
    """Points of the square and of the "X" as columns of normal quantiles, (n, 2 pairs) each."""
    square = torch.rand(POINTS, pairs, 2)
    upward = torch.rand(POINTS, pairs) < 0.5
    x = square.clone()
    x[..., 1] = torch.where(upward, x[..., 0], 1 - x[..., 0])
    return torch.special.ndtri(square).flatten(1), torch.special.ndtri(x).flatten(1)


def see_the_x(pairs: int, samples: int = 30) -> list[float]:
    """How far the "X" is from the square, in standard deviations between samples of the square."""
    drawn = [square_and_x(pairs) for _ in range(samples)]
    distances = []
    for criterion in WITNESSES.values():
        values = torch.stack(
            [torch.stack([criterion.eval()([z]) for z in both]) for both in drawn]
        ).double()
        distances.append(float((values[:, 1] - values[:, 0]).mean() / values[:, 0].std()))
    return distances


def draw_witnesses() -> Figure:
    """Bars for every criterion, in two dimensions and in 128."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True, layout="constrained")
    for axes, pairs in zip(panels, (1, 64), strict=True):
        distances = see_the_x(pairs)
        bars = axes.barh(list(WITNESSES), distances, color="tab:blue")
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axes.axvspan(-2, 2, color="0.85", zorder=0)
        axes.set_xscale("symlog", linthresh=2)
        axes.set_xlim(-2, 1500)
        axes.set_title("one X, d = 2" if pairs == 1 else f"{pairs} independent X, d = {2 * pairs}")
        axes.set_xlabel("X less square, in standard deviations")
    panels[0].invert_yaxis()
    return figure


def main() -> None:
    """Write all pictures."""
    torch.manual_seed(0)
    clusters = torch.tensor([[-1.2, -1.0], [0.2, 0.1], [1.6, 1.9]])
    start = clusters[torch.arange(POINTS) % 3] + 0.35 * torch.randn(POINTS, 2)
    IMAGES.mkdir(exist_ok=True)
    terms = {
        "Three clusters": to_unit_cube(start, "hypercube"),
        "Covariance only": optimise(start, 0.0, 100.0),
        "Entropy only": optimise(start, 1.0, 0.0),
        "Both: E2MC": optimise(start, 1.0, 100.0),
    }
    draw(terms).savefig(IMAGES / "criteria_terms.png", dpi=110)

    square = torch.rand(POINTS, 2)
    sign = (torch.rand(POINTS) < 0.5).float()
    mirrored = sign * square[:, 0] + (1 - sign) * (1 - square[:, 0])
    caveat = {
        "Uniform square": square,
        'The "X" of Figure 2b': torch.stack([square[:, 0], mirrored], dim=1),
    }
    draw(caveat).savefig(IMAGES / "criteria_caveat.png", dpi=110)

    with torch.no_grad():
        draw_witnesses().savefig(IMAGES / "criteria_witnesses.png", dpi=110)


if __name__ == "__main__":
    main()
