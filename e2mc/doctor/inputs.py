"""What an experiment starts from: data sets, label lists, checkpoints."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from e2mc.config import stages
from e2mc.config.experiment import Experiment
from e2mc.config.protocols import IMAGENET, dataset_of, transfer_datasets
from e2mc.config.settings import ImageNetSettings
from e2mc.data.checks import Finding as DataFinding
from e2mc.data.checks import (
    check_imagenet,
    check_splits,
    corrupt_images,
    refuse_impossible_subsets,
)
from e2mc.data.image_set import LabelledImages, Split, open_images
from e2mc.data.imagenet import CONVERT, left_out
from e2mc.data.loading import usable_cpus
from e2mc.doctor.findings import Finding
from e2mc.download.pins import read_pins
from e2mc.download.registry import REGISTRY, PublicFile, find_checkpoint, label_list_hashes
from e2mc.download.remote import BrokenOffError, RefusedError, as_url, open_remote
from e2mc.errors import E2MCError
from e2mc.plan.layout import FETCHED
from e2mc.plan.quantities import readable

Counts = dict[str, tuple[int, int]]
Check = Callable[[], list[DataFinding]]
Opener = Callable[[Split], LabelledImages]

_SAMPLED_IMAGES = 32
_TIMEOUT = 10.0


def data_sets(experiment: Experiment, all_images: bool) -> tuple[Counts | None, list[Finding]]:
    """Layouts, counts, known labels and label lists; and whether images can be decoded.

    Returns:
        Training and test images of each data set, None if any is amiss; the findings.
    """
    data = experiment.data
    if data.prepare and not data.imagenet.root.exists():
        what = f"{data.imagenet.root} will be written first (data.prepare: {data.prepare})"
        return None, [Finding("ok", what)]
    findings = list(_missing_lists(experiment))
    counts: Counts = {}
    checks = _checks(experiment)
    for dataset, (check, open_split) in checks.items():
        found = check()
        for subject, ok, message in found:
            what = f"{subject}: {message}"
            findings.append(
                Finding("ok", what) if ok else Finding("error", what, dataset_of(dataset).remedy)
            )
        if all(one.ok for one in found):
            train, test = open_split("train"), open_split("test")
            counts[dataset] = (len(train), len(test))
            for images in (train, test):
                findings += _decoded(dataset, images, all_images)
            if dataset_of(dataset).opener.startswith("e2mc.data.imagenet:"):
                findings += _left_out(train, test)
            if dataset == IMAGENET.name:
                findings += _subsets(experiment, train)
    return counts if len(counts) == len(checks) else None, findings


def _subsets(experiment: Experiment, train: LabelledImages) -> Iterator[Finding]:
    """Whether the map's subsets can be drawn from these images."""
    options = experiment.evaluation.subsets
    if options is None:
        return
    try:
        refuse_impossible_subsets(options, train.classes, train.labels)
    except E2MCError as error:
        yield Finding("error", str(error), "correct the configuration")
    else:
        yield Finding("ok", "the subsets of classes and labels can be drawn")


def _missing_lists(experiment: Experiment) -> Iterator[Finding]:
    for percent, path in experiment.data.imagenet.lists.items():
        if not path.exists():
            yield Finding(
                "error",
                f"there is no list {path} of {percent} % of the labels",
                f"for ImageNet: e2mc fetch label-lists --folder {path.parent}",
            )


def _checks(experiment: Experiment) -> dict[str, tuple[Check, Opener]]:
    names = (IMAGENET.name, *transfer_datasets(experiment))
    return {name: _check(experiment, name) for name in names}


def _check(experiment: Experiment, name: str) -> tuple[Check, Opener]:
    """The published data set is expected at full scale, unless part of it is held out."""
    dataset, data = dataset_of(name), stages.data_settings(experiment, name)
    original = dataset.original if experiment.comparable else None
    open_split = partial(open_images, name, data)
    if not isinstance(data, ImageNetSettings):
        return partial(check_splits, dataset.title, open_split, original), open_split
    if data.validation_fraction is not None:
        original = None
    lists = label_list_hashes() if original else None
    checked = partial(check_imagenet, data, original, lists)
    return checked, open_split


def _left_out(*splits: LabelledImages) -> Iterator[Finding]:
    """Files in class folders that are no images by their names, `.heic` and `.gif` among them."""
    for folder in sorted({one.root / one.names[0].split("/")[0] for one in splits}):
        found = left_out(folder)
        if found is not None:
            yield Finding("warning", found, CONVERT)


def _decoded(dataset: str, images: LabelledImages, all_images: bool) -> Iterator[Finding]:
    step = 1 if all_images else max(1, len(images) // _SAMPLED_IMAGES)
    chosen = replace(images, names=images.names[::step], labels=images.labels[::step])
    if all_images:
        print(f"decoding {len(chosen):,} images of {images.root}", file=sys.stderr)
    broken = list(corrupt_images(chosen, workers=usable_cpus()))
    for message in broken:
        yield Finding("error", message, "`e2mc doctor --all-images` lists every such file")
    if not broken:
        yield Finding("ok", f"{dataset}: {len(chosen):,} of {len(images):,} images decoded")


def checkpoints(experiment: Experiment) -> Iterator[Finding]:
    """Each base's checkpoint: present, or to be fetched from where it is published."""
    for name, base in experiment.bases.items():
        if base.checkpoint is None:
            yield Finding("ok", f"{name}: trained from scratch by this experiment")
        elif base.registered is None:
            yield _given(name, Path(base.checkpoint))
        else:
            try:
                file = find_checkpoint(base.registered)
            except E2MCError as error:
                yield Finding("error", str(error), f"correct bases.{name}.checkpoint")
                continue
            if (file.method, file.epochs) != (base.method, base.epochs):
                what = f"{name}: {file.name} is {file.method} after {file.epochs} epochs"
                yield Finding("error", what, f"correct bases.{name}: method, epochs or checkpoint")
            yield _registered(file)


def _given(base: str, path: Path) -> Finding:
    if path.is_file():
        return Finding("ok", f"{base}: checkpoint {path}")
    return Finding(
        "error",
        f"{base}: there is no checkpoint {path}",
        f"place it there, or correct bases.{base}.checkpoint: a path, or a name in {REGISTRY}",
    )


def _registered(checkpoint: PublicFile) -> Finding:
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
        held = "pinned at first download" if pin else "its hash will be pinned"
        if checkpoint.sha256 is not None:
            held = "held to the published hash"
        return Finding("ok", f"{name}: {path}, {held}")
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
