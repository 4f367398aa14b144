"""What an experiment starts from: data sets, label lists, checkpoints."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from e2mc import files
from e2mc.checkpoints import LABEL_LISTS, REGISTRY, Checkpoint, find, read_pins
from e2mc.config import stages
from e2mc.config.experiment import Experiment
from e2mc.data.decode import decode
from e2mc.data.image_set import ImageSet, LabelledImages, Split
from e2mc.data.imagenet import open_imagenet
from e2mc.data.inat18 import open_inat18
from e2mc.data.labels import label_subset, read_list
from e2mc.data.voc07 import open_voc07
from e2mc.doctor.findings import Finding
from e2mc.errors import E2MCError
from e2mc.estimate import PUBLISHED_IMAGES, readable
from e2mc.layout import FETCHED
from e2mc.remote import BrokenOffError, RefusedError, as_url, open_remote

SPLITS: tuple[Split, ...] = ("train", "test")
Counts = dict[str, tuple[int, int]]

_SAMPLED_IMAGES = 32
_TIMEOUT = 10.0
_SOURCES = {
    "imagenet": "ImageNet-1k comes from image-net.org after registration: class folders "
    "<root>/train/<wnid> and <root>/val/<wnid>, root as in data.imagenet.root",
    "inat18": "unpack train_val2018.tar.gz, train2018.json.tar.gz and val2018.json.tar.gz of "
    "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/ there, or set data.inat18 to null",
    "voc07": "unpack VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar of "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ there, or set data.voc07 to null",
}


def data_sets(experiment: Experiment, all_images: bool) -> tuple[Counts | None, list[Finding]]:
    """Layouts, counts and some images, or all; and the label lists.

    Returns:
        Training and test images of each data set, None if any is missing; the findings.
    """
    data = experiment.data
    if data.prepare and not data.imagenet.root.exists():
        what = f"{data.imagenet.root} will be written first (data.prepare: {data.prepare})"
        return None, [Finding("ok", what)]
    counts: dict[str, list[int]] = {}
    findings: list[Finding] = []
    for dataset, open_split in _openers(experiment).items():
        counts[dataset] = []
        for split in SPLITS:
            try:
                image_set = open_split(split)
            except E2MCError as error:
                findings.append(Finding("error", str(error), _SOURCES[dataset]))
                break
            counts[dataset].append(len(image_set))
            findings += _images(experiment, dataset, split, image_set, all_images)
            if isinstance(image_set, ImageSet) and (dataset, split) == ("imagenet", "train"):
                findings += _lists(experiment, image_set)
        if dataset == "imagenet" and not counts[dataset]:
            findings += _lists(experiment, None)
    if any(len(sizes) < len(SPLITS) for sizes in counts.values()):
        return None, findings
    return {dataset: (sizes[0], sizes[1]) for dataset, sizes in counts.items()}, findings


def _openers(experiment: Experiment) -> dict[str, Callable[[Split], LabelledImages]]:
    data = experiment.data
    base = next(iter(experiment.bases))
    settings = stages.pretrain_settings(experiment, base, "continued", trial=0).data
    openers: dict[str, Callable[[Split], LabelledImages]] = {
        "imagenet": partial(open_imagenet, settings)
    }
    if data.inat18 is not None:
        openers["inat18"] = partial(open_inat18, data.inat18)
    if data.voc07 is not None:
        openers["voc07"] = partial(open_voc07, data.voc07)
    return openers


def _images(
    experiment: Experiment, dataset: str, split: str, image_set: LabelledImages, all_images: bool
) -> Iterator[Finding]:
    what = (
        f"{dataset} {split}: {len(image_set):,} images of {len(image_set.classes):,} classes in "
        f"{image_set.root}"
    )
    expected = PUBLISHED_IMAGES[dataset][split == "test"]
    whole = experiment.data.evaluate_on == "test" or dataset != "imagenet"
    if experiment.comparable and whole and len(image_set) != expected:
        yield Finding("error", f"{what}; the original has {expected:,} images", _SOURCES[dataset])
        return
    step = 1 if all_images else max(1, len(image_set) // _SAMPLED_IMAGES)
    paths = [image_set.path(index) for index in range(0, len(image_set), step)]
    broken = _broken(paths)
    if broken:
        found = f"{what}; {len(broken)} of {len(paths):,} cannot be decoded: {', '.join(broken)}"
        yield Finding("error", found, "restore these files from the archive")
    else:
        yield Finding("ok", f"{what}; {len(paths):,} decoded")


def _broken(paths: Sequence[Path]) -> list[str]:
    if len(paths) <= 2 * _SAMPLED_IMAGES:
        return [str(path) for path in paths if not _decodes(path)]
    print(f"decoding {len(paths):,} images on {os.cpu_count()} cores", file=sys.stderr)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(_decodes, paths, chunksize=256)
        return [str(path) for path, good in zip(paths, decoded, strict=True) if not good]


def _decodes(path: Path) -> bool:
    try:
        decode(path)
    except E2MCError:
        return False
    return True


def _lists(experiment: Experiment, train: ImageSet | None) -> Iterator[Finding]:
    for percent, path in experiment.data.imagenet.lists.items():
        remedy = f"SimCLR's lists of ImageNet: e2mc fetch label-lists --folder {path.parent}"
        try:
            count = len(read_list(path) if train is None else label_subset(path, train))
        except E2MCError as error:
            yield Finding("error", str(error), remedy)
            continue
        source = LABEL_LISTS.get(percent)
        if experiment.comparable and source and files.sha256(path) != source.sha256:
            what = f"{path} is not the list that the paper used: results cannot be compared with it"
            yield Finding("warning", what, remedy)
        else:
            yield Finding("ok", f"{percent} % of the labels: {count:,} images in {path}")


def checkpoints(experiment: Experiment) -> Iterator[Finding]:
    """Each base's checkpoint: present, or to be fetched from where it is published."""
    for name, base in experiment.bases.items():
        if base.checkpoint is None:
            yield Finding("ok", f"{name}: trained from scratch by this experiment")
        elif Path(base.checkpoint).suffix:
            yield _given(name, Path(base.checkpoint))
        else:
            try:
                yield _registered(find(base.checkpoint))
            except E2MCError as error:
                yield Finding("error", str(error), f"correct bases.{name}.checkpoint")


def _given(base: str, path: Path) -> Finding:
    if path.is_file():
        return Finding("ok", f"{base}: checkpoint {path}")
    return Finding(
        "error",
        f"{base}: there is no checkpoint {path}",
        f"place it there, or correct bases.{base}.checkpoint: a path, or a name in {REGISTRY}",
    )


def _registered(checkpoint: Checkpoint) -> Finding:
    name = checkpoint.name
    path = Path(FETCHED.format(name=name))
    if path.exists():
        pin, size = read_pins().get(name), path.stat().st_size
        if pin is not None and pin.bytes != size:
            return Finding(
                "error",
                f"{path} has {size} bytes, {pin.bytes} are pinned",
                "move it away; it is then downloaded again",
            )
        return Finding("ok", f"{name}: {path}, {'pinned' if pin else 'pinned on first use'}")
    reasons = []
    for source in (checkpoint.url, *checkpoint.mirrors):
        try:
            remote, response = open_remote(as_url(source), _TIMEOUT)
        except (RefusedError, BrokenOffError) as reason:
            reasons.append(f"{source}: {reason}")
        else:
            response.close()
            return Finding("ok", f"{name}: will be fetched, {readable(remote.size or 0)}")
    return Finding(
        "error",
        f"{name} is not here and cannot be fetched from here: {'; '.join(reasons)}",
        f"fetch it on another machine and place it as {path.absolute()}",
    )
