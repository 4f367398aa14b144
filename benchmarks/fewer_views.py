"""What fewer cached views than epochs cost a linear probe: top-1 on CIFAR-10.

    python benchmarks/fewer_views.py FOLDER_OR_ARCHIVE [--quick]

500 training images of each class (and a tenth and a hundredth of them), all 10,000 test images, a
ResNet-10 of 16 channels trained on the same images by VICReg for 30 epochs, 100 epochs of the
probe. With 100 views each epoch sees a fresh one: the online protocol. The learning rate is the
best of three with 100 views. The argument is CIFAR-10 as `data.cifar10_source` takes it. Full run:
about ten minutes on one core of a quiet machine.
"""

import argparse
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from e2mc.cli import main as e2mc
from e2mc.config.fits import LinearFit
from e2mc.data.image_set import ImageSet
from e2mc.data.labels import label_subset
from e2mc.evaluation.feature_files import Features, open_pair
from e2mc.evaluation.probe import Head, fit_heads

ROOT = Path(__file__).parents[1]
EPOCHS, VIEWS, SEEDS, RATES = 100, (100, 20, 10, 4, 1), 5, (0.03, 0.3, 3.0)


def configuration(source: Path, quick: bool) -> dict[str, object]:
    """CIFAR-10's experiment, made smaller."""
    content = yaml.safe_load((ROOT / "config/cifar10.yaml").read_text())
    data, vicreg = content["data"], content["methods"]["vicreg"]
    data |= {"cifar10_source": str(source), "cifar10_per_class": 100 if quick else 500}
    data["imagenet"] = {"root": "images", "lists": {1: "1.txt", 10: "10.txt"}}
    vicreg["projector"] = [512, 512, 512]
    vicreg["scratch"] |= {"epochs": 2 if quick else 30, "batch_size": 256, "warmup_epochs": 1}
    # the official optimizer and views, with which docs/protocols.md was measured
    del vicreg["optimizer"], vicreg["variance"], vicreg["views"]["solarize_probability"]
    content["backbone"] |= {"layers": [1, 1, 1, 1], "width": 16}
    content |= {"name": "views", "bases": {"base": {"method": "vicreg", "epochs": 30}}}
    # only views that are fewer than epochs are cached
    linear = {"views": {100: EPOCHS}, "vicreg": {100: {"epochs": EPOCHS + 1}}}
    return content | {"tables": {}, "evaluation": {"linear": linear}}


def extract() -> tuple[Features, Features]:
    """Train a base model and cache its features in this folder, by the pipeline's own verbs."""
    chosen = ["--config", "views.yaml", "--base", "base"]
    e2mc(["prepare", "--config", "views.yaml", "--output", "ready.json"])
    record = ["--history", "history.csv", "--metrics", "metrics.json", "--state", "state"]
    e2mc(["pretrain", *chosen, "--output", "base.pth", *record])
    e2mc(["import-checkpoint", *chosen, "--source", "base.pth", "--output", "base.safetensors"])
    model = ["--model", "base.safetensors", "--dataset", "imagenet", "--output", "features"]
    e2mc(["extract", *chosen, *model])
    return open_pair(
        *(Path(f"features/imagenet-{split}/index.json") for split in ("train", "test"))
    )


def top1(
    train: Features, test: Features, rows: NDArray[np.int64], views: int, rates: Iterable[float]
) -> NDArray[np.float64]:
    """Last-epoch top-1 in per cent, (rates, seeds)."""
    heads = [
        Head(LinearFit(learning_rate=rate, epochs=EPOCHS), seed)
        for rate in rates
        for seed in range(SEEDS)
    ]
    labels, classes = train.labels[rows], len(train.classes)
    test_x = test.whole()
    fitted = fit_heads(
        lambda view: train.view(view, rows), views, labels, test_x, test.labels, classes, heads
    )
    return np.array([one.history[-1].top1 for one in fitted]).reshape(-1, SEEDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="cifar-10-python.tar.gz, or a folder of images")
    parser.add_argument("--quick", action="store_true", help="a fifth of the images, 2 epochs")
    arguments = parser.parse_args()
    content = configuration(arguments.source.absolute(), arguments.quick)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("config").symlink_to(ROOT / "config")  # e2mc reads its registry there
        Path("views.yaml").write_text(yaml.safe_dump(content))
        train, test = extract()
        images = ImageSet(Path("images"), train.names, train.labels, train.classes)
        shares = {100: np.arange(len(train.names))}
        shares |= {share: label_subset(Path(f"{share}.txt"), images) for share in (10, 1)}
        for share, rows in shares.items():
            tried = top1(train, test, rows, EPOCHS, RATES)
            rate = RATES[int(tried.mean(axis=1).argmax())]
            print(f"{len(rows)} images ({share} %), learning rate {rate:g}:")
            for views in VIEWS:
                found = top1(train, test, rows, views, [rate])[0]
                error = found.std(ddof=1) / SEEDS**0.5
                print(f"  {views:3d} views: {found.mean():.2f} +- {error:.2f}", flush=True)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
