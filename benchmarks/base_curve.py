"""Whether a base model is worth continuing: its k-NN accuracy while it trains from scratch.

python benchmarks/base_curve.py config/imagenet32_small.yaml vicreg-60 --every 5

trains the base as the experiment does, keeps its trunk every few epochs, and classifies a tenth of
the training images by their nearest neighbours among the others: no test image is seen. A base
whose curve still rises wants more epochs. Training resumes where it was interrupted; the images
must be prepared. The experiment trains its base again: the snapshots are for this curve.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2mc.config import load_experiment, stages
from e2mc.config.settings import ExtractSettings, TrainSettings
from e2mc.data.evaluation_views import View, consecutive
from e2mc.data.image_set import ImageSet
from e2mc.data.imagenet import open_imagenet
from e2mc.evaluation.frozen import compute, frozen_trunk, seen
from e2mc.evaluation.neighbours import knn_top1
from e2mc.evaluation.streams import best_device
from e2mc.plan.layout import SNAPSHOT_FILE, results
from e2mc.training.loop import train

HELD_OUT = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("base")
    parser.add_argument("--every", type=int, default=5, help="epochs between two points")
    arguments = parser.parse_args()
    experiment = load_experiment(arguments.config)
    settings = stages.scratch_settings(experiment, arguments.base)
    epochs = tuple(range(arguments.every, settings.training.epochs + 1, arguments.every))
    folder = results(experiment.name) / "base_curve" / arguments.base
    train_with_snapshots(settings.model_copy(update={"snapshots": epochs}), folder)
    frozen = stages.extract_settings(experiment, arguments.base, 0, ())
    data = settings.data.model_copy(update={"validation_fraction": HELD_OUT})
    known, asked = (open_imagenet(data, split) for split in ("train", "test"))
    ks = experiment.evaluation.knn.neighbours
    print(f"{len(asked)} images among {len(known)}; top-1 (%) by k of {ks}")
    for epoch in epochs:
        model = folder / SNAPSHOT_FILE.format(epoch=epoch)
        x, tested = (features(frozen, model, images) for images in (known, asked))
        top1 = knn_top1(x, known.labels, tested, asked.labels, ks).top1
        print(f"epoch {epoch:4d}: " + "  ".join(f"{100 * top1[k]:6.2f}" for k in ks), flush=True)


def train_with_snapshots(settings: TrainSettings, folder: Path) -> None:
    """Does nothing where all is there."""
    if not (folder / "metrics.json").exists():
        files = (folder / name for name in ("model.safetensors", "history.csv", "metrics.json"))
        train(settings, None, *files, folder / "state")


def features(settings: ExtractSettings, model: Path, images: ImageSet) -> NDArray[np.float16]:
    """Pooled features of the centre crops, (n, dim)."""
    device = best_device()
    batches = consecutive(0, len(images), settings.batch_size)
    views = seen(settings, images, [View("center")], batches, device)
    trunk = frozen_trunk(settings, model, device)
    dims = {"pooled": settings.backbone.feature_dimension}
    return compute(settings, trunk, views, batches, 1, dims)["pooled"][0]


if __name__ == "__main__":
    main()
