"""What half precision costs a linear probe, and what it changes in the features of a ResNet-50.

    python benchmarks/half_precision.py CONFIG BASE MODEL [--views 8] [--shares 1 10 100]
    python benchmarks/half_precision.py --photographs FOLDER

First form: MODEL is a `*.safetensors` of the base model BASE of an experiment whose data are
there, such as `config/demo.yaml vicreg-30 results/demo/checkpoints/vicreg-30.safetensors` after
`make demo`. Its trunk computes the views in float32, float16 and bfloat16; each is stored as
float16, float32 also as it is. Probes of every share of the labels train on them, with first
weights and batches of five seeds that all precisions share: top-1 after the last epoch, and paired
differences.

Second form: the features of a ResNet-50 of random weights, whose BatchNorm has the statistics of
the same 64 photographs. Rounding errors grow with depth, and no checkpoint is needed to see how
much; there is no accuracy to be had. Each form takes a few minutes of one core.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from views import listed

from e2mc.config import Experiment, load_experiment, stages
from e2mc.config.settings import FrozenSettings
from e2mc.data import labels
from e2mc.data.evaluation_views import Crop, View, consecutive
from e2mc.data.image_set import ImageSet
from e2mc.data.imagenet import open_imagenet
from e2mc.evaluation.frozen import feature_map, frozen_trunk, seen
from e2mc.evaluation.probe import Head, fit_heads
from e2mc.evaluation.streams import best_device
from e2mc.models.backbone import Trunk, build_backbone

PAPER = Path(__file__).parents[1] / "config/paper.yaml"
PRECISIONS = ("float32", "float16", "bfloat16")
SEEDS, BATCH, PHOTOGRAPHS = 5, 64, 64

Variants = dict[str, tuple[NDArray[np.floating], NDArray[np.floating]]]
"""How features were computed and stored -> training views (views, n, dim), test images (m, dim)."""


@torch.inference_mode()
def features(
    settings: FrozenSettings, trunk: Trunk, images: ImageSet, crop: Crop, views: int
) -> NDArray[np.float32]:
    """(views, images, dim), not rounded."""
    rows = [
        trunk.pool(feature_map(settings, trunk, batch)).cpu().numpy()
        for batch in shown(settings, images, crop, views)
    ]
    return np.stack([np.concatenate(rows[view::views]) for view in range(views)])


def shown(
    settings: FrozenSettings, images: ImageSet, crop: Crop, views: int
) -> Iterator[torch.Tensor]:
    """All views of the first batch, then those of the second."""
    batches = consecutive(0, len(images), BATCH)
    crops = [View(crop, at) for at in range(views)]
    return seen(settings, images, crops, batches, best_device())


def frozen(experiment: Experiment, base: str, precision: str) -> FrozenSettings:
    """How the trunk is run."""
    settings = stages.extract_settings(experiment, base, 0, ("imagenet",))
    return settings.model_copy(update={"precision": precision})


def relative_error(found: NDArray[np.floating], exact: NDArray[np.floating]) -> float:
    """Of all features together."""
    difference = found.astype(np.float64) - exact
    return float(np.linalg.norm(difference) / np.linalg.norm(exact.astype(np.float64)))


def compare_probes(
    experiment: Experiment, base: str, model: Path, views: int, shares: Sequence[int]
) -> None:
    """Print top-1 by share and precision."""
    data = stages.linear_online_settings(experiment, base, 0).data
    train, test = open_imagenet(data, "train"), open_imagenet(data, "test")
    if max(shares) != 100:
        train = labels.listed(train, data.lists, max(shares))
    variants: Variants = {}
    for precision in PRECISIONS:
        settings = frozen(experiment, base, precision)
        trunk = frozen_trunk(settings, model, best_device())
        made = features(settings, trunk, train, "random", views)
        tested = features(settings, trunk, test, "center", 1)[0]
        if precision == "float32":
            variants["float32, stored as float32"] = made, tested
        variants[f"{precision}, stored as float16"] = (
            made.astype(np.float16),
            tested.astype(np.float16),
        )
    exact = next(iter(variants.values()))[0]
    for name, (stored, _) in variants.items():
        print(f"{name}: relative error of the features {relative_error(stored, exact):.1e}")
    fits = getattr(experiment.evaluation.linear, experiment.recipe(base).fits_of)
    for percent in shares:
        rows = np.arange(len(train))
        if percent != max(shares):
            rows = labels.label_subset(data.lists[percent], train)
        heads = [Head(fits[percent], seed) for seed in range(SEEDS)]
        print(f"{percent} % of the labels, {len(rows)} images:")
        reference = None
        for name, (stored, test_x) in variants.items():
            fitted = fit_heads(
                lambda view, stored=stored, rows=rows: stored[view][rows],  # type: ignore[misc]
                views,
                train.labels[rows],
                test_x,
                test.labels,
                len(train.classes),
                heads,
            )
            top1 = np.array([one.history[-1].top1 for one in fitted])
            reference = top1 if reference is None else reference
            difference = top1 - reference
            error = difference.std(ddof=1) / SEEDS**0.5
            print(
                f"  {name}: {top1.mean():.2f}, {difference.mean():+.2f} +- {error:.2f}", flush=True
            )


@torch.inference_mode()
def compare_features(folder: Path) -> None:
    """Print what half precision changes in features of the paper's trunk."""
    experiment, images = load_experiment(PAPER), listed(folder, PHOTOGRAPHS)
    base = next(iter(experiment.bases))
    torch.manual_seed(0)
    settings = frozen(experiment, base, "float32")
    trunk = build_backbone(settings.backbone).to(best_device())
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the average of all batches
    for batch in shown(settings, images, "center", 1):
        trunk(batch)
    trunk.eval()
    exact = features(settings, trunk, images, "center", 1)
    print(f"float32, stored as float16: {relative_error(exact.astype(np.float16), exact):.1e}")
    for precision in PRECISIONS[1:]:
        made = features(frozen(experiment, base, precision), trunk, images, "center", 1)
        print(f"{precision}: {relative_error(made.astype(np.float16), exact):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", type=Path)
    parser.add_argument("base", nargs="?")
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--views", type=int, default=8, help="cached views per training image")
    parser.add_argument("--shares", type=int, nargs="+", default=[1, 10, 100], metavar="PERCENT")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.photographs is not None:
        compare_features(arguments.photographs)
    elif arguments.model is not None:
        experiment = load_experiment(arguments.config)
        chosen = arguments.base, arguments.model, arguments.views, sorted(arguments.shares)
        compare_probes(experiment, *chosen)
    else:
        parser.error("give CONFIG BASE MODEL, or --photographs FOLDER")


if __name__ == "__main__":
    main()
