"""Images per second and core of the input pipelines, beside the official code's.

    python benchmarks/views.py [--quick] [--images FOLDER] [--device cuda]

Per method, all views of an image from its file to the normalised tensor: the official Pillow
pipeline as its repositories write it; this project's `pillow` and `fast` pipelines on the same
files; of its `device` pipeline what the loader processes do, to the bytes of the crops; and its
`tensor` pipeline on the same images in memory, cut to squares. Then the evaluation's views, a
centre crop, and ten random crops with one: decoded for each view, and once for all. One thread;
the pipelines take turns and the fastest round of each counts; on a CPU what is counted is
processor time, so other work on the machine disturbs little. Without a folder, images the size of
ImageNet's are drawn.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.config.methods import SimSiam, SwAV, VICReg, Views
from e2mc.data.decode import decode, decode_levels
from e2mc.data.device_views import crops
from e2mc.data.draws import TRAINING, recipes, stream
from e2mc.data.evaluation_views import View, consecutive, evaluation_views
from e2mc.data.image_set import ImageSet
from e2mc.data.loading import ViewBatches, load
from e2mc.data.views import TrainingViews
from e2mc.vision import torchvision

T = torchvision.transforms
Pipeline = Callable[[Image.Image], Tensor]
CPU = torch.device("cpu")
PIPELINES = ("pillow", "fast")
RECIPES: dict[str, Views] = {
    "vicreg": VICReg().views,
    "swav": SwAV().views,
    "simsiam": SimSiam().views,
}


def blur(probability: float) -> Callable[[Image.Image], Image.Image]:
    def apply(image: Image.Image) -> Image.Image:
        if random.random() >= probability:
            return image
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))

    return apply


def solarization(probability: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageOps.solarize(image) if random.random() < probability else image


def official(method: str, sizes: Images) -> list[Pipeline]:
    """One pipeline per view, as in each method's own repository."""
    flip, gray = T.RandomHorizontalFlip(p=0.5), T.RandomGrayscale(p=0.2)
    tensor = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]

    def jitter(*strength: float) -> Pipeline:
        return T.RandomApply([T.ColorJitter(*strength)], p=0.8)

    if method == "vicreg":
        crop = T.RandomResizedCrop(sizes.size, interpolation=T.InterpolationMode.BICUBIC)
        head = [crop, flip, jitter(0.4, 0.4, 0.2, 0.1), gray]
        pair = ((1.0, 0.0), (0.1, 0.2))
        return [T.Compose([*head, blur(b), solarization(s), *tensor]) for b, s in pair]
    if method == "swav":
        tail = [flip, jitter(0.8, 0.8, 0.8, 0.2), gray, blur(0.5), *tensor]
        full = T.Compose([T.RandomResizedCrop(sizes.size, scale=(0.14, 1.0)), *tail])
        small = T.Compose([T.RandomResizedCrop(sizes.small_size, scale=(0.05, 0.14)), *tail])
        return [full] * 2 + [small] * 6
    crop = T.RandomResizedCrop(sizes.size, scale=(0.2, 1.0))
    return [T.Compose([crop, jitter(0.4, 0.4, 0.4, 0.1), gray, blur(0.5), flip, *tensor])] * 2


def run_official(images: ImageSet, pipelines: Sequence[Pipeline], batch: int) -> None:
    for first in range(0, len(images), batch):
        rows = []
        for index in range(first, min(first + batch, len(images))):
            with images.path(index).open("rb") as stream:
                image = Image.open(stream).convert("RGB")
            rows.append([pipeline(image) for pipeline in pipelines])
        for views in zip(*rows, strict=True):
            torch.stack(views)


def ours(
    images: ImageSet, method: str, sizes: Images, pipeline: str, batch: int, device: torch.device
) -> Callable[[], None]:
    recipe = RECIPES[method].model_copy(update={"pipeline": pipeline})
    views = TrainingViews(images, recipe, sizes, batch, 0, 0, device)

    def run() -> None:
        for _ in views.epoch(0):
            pass

    return run


def seconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def drawn(folder: Path, count: int, size: tuple[int, int]) -> ImageSet:
    """Smooth random images with some noise, as JPEG files."""
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        array = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float)
        noisy = np.clip(array + rng.normal(0, 8, array.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:05d}.jpg", quality=90)
    return listed(folder, count)


def listed(folder: Path, count: int) -> ImageSet:
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png")
    )
    names = tuple(str(path.relative_to(folder)) for path in files[:count])
    if not names:
        raise SystemExit(f"no images in {folder}")
    return ImageSet(folder, names, np.zeros(len(names), np.int64), ("all",))


def squares(images: ImageSet, folder: Path, size: int) -> ImageSet:
    cut = T.Compose([T.Resize(size), T.CenterCrop(size)])
    for index in range(len(images)):
        cut(decode(images.path(index))).save(folder / f"{index:05d}.png")
    return listed(folder, len(images))


def workers_part(images: ImageSet, method: str, sizes: Images, batch: int) -> None:
    """What the loader processes of the `device` pipeline do for an epoch."""
    chosen = recipes(RECIPES[method], sizes)
    make = partial(crops, recipes=chosen, key=stream(TRAINING, 0, 0), views=range(len(chosen)))
    source = ViewBatches(images, consecutive(0, len(images), batch), decode_levels, make)
    for _ in load(source, 0, 0, CPU):
        pass


def evaluated(images: ImageSet, sizes: Images, views: Sequence[View], pipeline: str) -> None:
    std, batches = (0.228, 0.224, 0.225), consecutive(0, len(images), 256)
    for _ in evaluation_views(images, sizes, views, std, pipeline, batches):
        pass


def decoded_for_each(images: ImageSet, sizes: Images, views: Sequence[View]) -> None:
    for view in views:
        evaluated(images, sizes, [view], "pillow")


def rates(
    count: int, runs: dict[str, tuple[Callable[[], None], torch.device]], rounds: int
) -> dict[str, float]:
    """Images per second of the fastest round of each run; the runs take turns."""
    times = [[seconds(run, where) for run, where in runs.values()] for _ in range(rounds)]
    return {name: count / best for name, best in zip(runs, np.min(times, axis=0), strict=True)}


def row(title: str, found: dict[str, float]) -> None:
    """The first column is what the others are compared with."""
    first, *others = found.values()
    print(f"{title:10s}{first:10,.0f}", end="")
    print("".join(f"{rate:10,.0f}{rate / first:7.2f}x" for rate in others), flush=True)


def heading(names: Iterable[str]) -> None:
    first, *others = names
    print(f"{'':10s}{first:>10s}" + "".join(f"{name:>10s}{'ratio':>8s}" for name in others))


def compare(
    title: str, images: ImageSet, sizes: Images, side: int, rounds: int, device: torch.device
) -> None:
    """Print one row per method, then the evaluation's."""
    print(f"\n{title}: {len(images)} images, crops {sizes.size}/{sizes.small_size}")
    batch = min(256, len(images))
    heading(("official", *PIPELINES, "device", "tensor"))
    with tempfile.TemporaryDirectory() as folder:
        square = squares(images, Path(folder), side)
        for method in RECIPES:
            runs = {
                "official": (partial(run_official, images, official(method, sizes), batch), CPU)
            }
            runs |= {
                pipeline: (ours(images, method, sizes, pipeline, batch, CPU), CPU)
                for pipeline in PIPELINES
            }
            runs["device"] = (partial(workers_part, images, method, sizes, batch), CPU)
            runs["tensor"] = (ours(square, method, sizes, "tensor", batch, device), device)
            runs["tensor"][0]()  # decodes the images into memory
            row(method, rates(len(images), runs, rounds))
    heading(("apart", *PIPELINES))
    random_crops = [View("random", number) for number in range(10)]
    for name, views in (("centre", [View("center")]), ("10 + 1", [*random_crops, View("center")])):
        runs = {"apart": (partial(decoded_for_each, images, sizes, views), CPU)}
        runs |= {
            pipeline: (partial(evaluated, images, sizes, views, pipeline), CPU)
            for pipeline in PIPELINES
        }
        row(name, rates(len(images), runs, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, one round")
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--only-photographs", action="store_true", help="leave out small images")
    parser.add_argument("--device", default="cpu", help="of the tensor pipeline")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    rounds, many, few = (1, 256, 8) if arguments.quick else (3, 1024, 128)
    large = Images(size=224, small_size=96, evaluation_resize=256)
    tiny = Images(size=12, small_size=8, evaluation_resize=14)
    small = Images(size=32, small_size=16, evaluation_resize=32)
    with tempfile.TemporaryDirectory() as folder:
        sets = (("digit-sized", tiny, 14), ("CIFAR-sized", small, 32))
        for name, sizes, side in () if arguments.only_photographs else sets:
            (Path(folder) / name).mkdir()
            images = drawn(Path(folder) / name, many, (side, side))
            compare(name, images, sizes, side, rounds, device)
        if arguments.images is None:
            (Path(folder) / "large").mkdir()
            photographs = drawn(Path(folder) / "large", few, (500, 375))
        else:
            photographs = listed(arguments.images, few)
        compare("photographs", photographs, large, 256, rounds, device)


if __name__ == "__main__":
    main()
