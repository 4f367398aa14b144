r"""A shortened SimSiam training beside solo-learn's own code, by the k-NN accuracy of the trunk.

    pip install --no-deps solo-learn==1.0.2 pytorch-lightning==1.9.5 lightning-bolts==0.7.0 \
        lightning-utilities torchmetrics==0.11.4 einops timm wandb
    python benchmarks/beside_solo_learn.py --source cifar10/ --csv solo_learn.csv

The recipe is that of `config/cifar10.yaml`, which is solo-learn's, for fewer epochs of fewer images
with a smaller trunk, in float32. Both codes train from their own first weights with their own
views, losses, optimizers and loops, each seed anew; the trunks are the same ResNet, given to
solo-learn in the place of its ResNet-18, so that two cores suffice. Its rates change with every
step, as in its newer releases, instead of once per epoch. Then all test images are classified by
their nearest neighbours among the training images, normalised as the trunk's training images were.
"""

import argparse
import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2mc.config import load_experiment, stages
from e2mc.config.experiment import ImageNetData
from e2mc.config.methods import Backbone, SimSiam
from e2mc.config.settings import TrainSettings
from e2mc.data.cifar10 import prepare_cifar10
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.image_set import ImageSet, Split
from e2mc.data.imagenet import open_imagenet
from e2mc.data.views import MEAN
from e2mc.evaluation.frozen import load_trunk
from e2mc.evaluation.neighbours import knn_top1
from e2mc.statistics import trial_interval
from e2mc.training.loop import train
from e2mc.vision import torchvision

CONFIG, BASE = Path("config/cifar10.yaml"), "simsiam-200"
WIDTH, NEIGHBOURS = 16, (20, 200)
THEIR_MEAN, THEIR_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
"""`CifarTransform` of solo-learn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="CIFAR-10 (archive or folders)")
    parser.add_argument("--per-class", type=int, default=500, help="training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("results/beside_solo_learn"))
    parser.add_argument("--csv", type=Path, required=True, help="a line per training is added")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    data = ImageNetData(root=arguments.folder / f"images-{arguments.per_class}", lists={})
    prepare_cifar10(data, arguments.source, None, arguments.per_class)
    settings = shortened(data, arguments.epochs)
    found: dict[str, list[float]] = {}
    for seed in range(arguments.trials):
        for code, trained in CODES.items():
            folder = arguments.folder / f"{code}-{seed}"
            top1 = trained(settings.model_copy(update={"seed": seed}), folder)
            found.setdefault(code, []).append(top1[NEIGHBOURS[-1]])
            add_line(arguments, code, seed, top1)
    ours, theirs = (np.asarray(found[code]) for code in CODES)
    difference = float(ours.mean() - theirs.mean())
    error = float(np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / len(ours)))
    # The trainings are independent, so the interval has the degrees of freedom of both groups.
    low, high = trial_interval(difference, error, 2 * len(ours) - 1)
    means = f"e2mc {ours.mean():.2f}, solo-learn {theirs.mean():.2f}"
    print(f"{means}, difference {difference:+.2f} [{low:+.2f}, {high:+.2f}]")


def shortened(data: ImageNetData, epochs: int) -> TrainSettings:
    """Half the batch, hence half the rates; a tenth of the training is warm-up."""
    settings = stages.scratch_settings(load_experiment(CONFIG), BASE)
    full = settings.training
    assert full.predictor_learning_rate is not None
    training = full.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": max(1, epochs // 10),
            "batch_size": full.batch_size // 2,
            "learning_rate": full.learning_rate / 2,
            "predictor_learning_rate": full.predictor_learning_rate / 2,
            "precision": "float32",
        }
    )
    trunk = Backbone(block="basic", layers=(1, 1, 1, 1), width=WIDTH, stem="cifar")
    images = settings.data.model_copy(update={"root": data.root, "lists": {}})
    return settings.model_copy(update={"training": training, "backbone": trunk, "data": images})


def train_ours(settings: TrainSettings, folder: Path) -> dict[int, float]:
    model = folder / "model.safetensors"
    if not model.exists():
        files = (model, folder / "history.csv", folder / "metrics.json", folder / "state")
        train(settings, None, *files)
    trunk = load_trunk(settings.backbone, model).eval()
    std = settings.recipe.views.normalization_std
    return neighbours(settings, MEAN, std, lambda images: trunk.pool(trunk.feature_map(images)))


def train_theirs(settings: TrainSettings, folder: Path) -> dict[int, float]:
    import pytorch_lightning as lightning

    lightning.seed_everything(settings.seed)
    loader = their_loader(settings)
    model = their_method(settings, len(loader))
    trainer = lightning.Trainer(
        max_epochs=settings.training.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    trainer.fit(model, loader)
    return neighbours(settings, THEIR_MEAN, THEIR_STD, model.encoder.eval())


def their_loader(settings: TrainSettings) -> Any:
    from solo.utils import pretrain_dataloader as solo_data

    views = settings.recipe.views
    brightness, contrast, saturation, hue = views.jitter
    (blur,), (solarize,) = views.blur_probability, views.solarize_probability
    transform = solo_data.prepare_transform(
        "cifar10",
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        color_jitter_prob=views.jitter_probability,
        gray_scale_prob=views.gray_probability,
        horizontal_flip_prob=views.flip_probability,
        gaussian_prob=blur,
        solarization_prob=solarize,
        min_scale=views.scale[0],
        max_scale=views.scale[1],
        crop_size=settings.images.size,
    )
    both = solo_data.prepare_n_crop_transform([transform], [2])
    folder = solo_data.dataset_with_index(torchvision.datasets.ImageFolder)
    images = folder(settings.data.root / "train", both)
    return solo_data.prepare_dataloader(images, settings.training.batch_size, num_workers=0)


def their_method(settings: TrainSettings, steps: int) -> Any:
    """solo-learn's class for SimSiam, with its arguments of the same meaning."""
    import solo.methods

    training, recipe, optimizer = settings.training, settings.recipe, settings.recipe.optimizer
    assert isinstance(recipe, SimSiam)
    torchvision.models.resnet18 = their_trunk

    class EveryStep(solo.methods.SimSiam):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            optimizers, (scheduler,) = super().configure_optimizers()
            return optimizers, [{"scheduler": scheduler, "interval": "step"}]

    return EveryStep(
        encoder="resnet18",
        num_classes=10,
        backbone_args={"cifar": False, "zero_init_residual": True},
        proj_output_dim=recipe.projector,
        proj_hidden_dim=recipe.projector,
        pred_hidden_dim=recipe.predictor,
        max_epochs=training.epochs * steps,
        batch_size=training.batch_size,
        optimizer=optimizer.rule,
        lars=False,
        exclude_bias_n_norm=False,
        lr=training.learning_rate,
        weight_decay=optimizer.weight_decay,
        classifier_lr=0.1,
        accumulate_grad_batches=1,
        extra_optimizer_args={"momentum": optimizer.momentum},
        scheduler="warmup_cosine",
        min_lr=training.final_learning_rate,
        warmup_start_lr=3e-5,
        warmup_epochs=training.warmup_epochs * steps,
        num_large_crops=2,
        num_small_crops=0,
    )


def their_trunk(zero_init_residual: bool) -> nn.Module:
    """torchvision's ResNet, which is solo-learn's, of four blocks and with its stem for CIFAR."""
    resnet, block = torchvision.models.resnet, torchvision.models.resnet.BasicBlock
    trunk = resnet.ResNet(block, [1, 1, 1, 1])
    trunk.inplanes = WIDTH
    trunk.conv1 = nn.Conv2d(3, WIDTH, kernel_size=3, stride=1, padding=1, bias=False)
    trunk.bn1 = nn.BatchNorm2d(WIDTH)
    trunk.maxpool = nn.Identity()
    for stage in range(4):
        layer = trunk._make_layer(block, WIDTH << stage, 1, stride=1 + (stage > 0))
        setattr(trunk, f"layer{stage + 1}", layer)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, block) and zero_init_residual:
            nn.init.zeros_(module.bn2.weight)
    return trunk


@torch.inference_mode()
def neighbours(
    settings: TrainSettings,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    trunk: Callable[[Tensor], Tensor],
) -> dict[int, float]:
    """Top-1 in per cent by the number of neighbours."""
    shift = ((torch.tensor(MEAN) - torch.tensor(mean)) / torch.tensor(std)).view(3, 1, 1)

    def features(split: Split) -> tuple[NDArray[np.float32], ImageSet]:
        images = open_imagenet(settings.data, split)
        batches = evaluation_batches(
            images, settings.images, "center", std, "tensor", batch_size=500
        )
        rows = [trunk(batch + shift) for batch in batches]
        return torch.cat(rows).float().numpy(), images

    (x, known), (asked, test) = features("train"), features("test")
    top1 = knn_top1(x, known.labels, asked, test.labels, NEIGHBOURS).top1
    return {k: 100 * value for k, value in top1.items()}


def add_line(arguments: argparse.Namespace, code: str, seed: int, top1: dict[int, float]) -> None:
    new = not arguments.csv.exists()
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    with arguments.csv.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(
                ("code", "seed", "images", "epochs", *(f"top1_{k}" for k in NEIGHBOURS))
            )
        accuracies = (f"{top1[k]:.2f}" for k in NEIGHBOURS)
        writer.writerow((code, seed, 10 * arguments.per_class, arguments.epochs, *accuracies))
    print(f"{code}, seed {seed}: {top1}", flush=True)


CODES = {"e2mc": train_ours, "solo-learn": train_theirs}

if __name__ == "__main__":
    main()
