"""Small cached features for the tests of this package."""

import numpy as np

from e2mc.evaluation.feature_files import write_index
from e2mc.evaluation.shards import Shard, shard_path, write_shard
from e2mc.files import read_json

CLASSES = ("n01", "n02", "n03")


def clusters(samples, dim, classes, views, seed=0, spread=1.0):
    """Features (views, samples, dim) around class means, and labels."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(classes, dim))
    labels = rng.permutation(np.arange(samples) % classes)
    features = means[labels] + spread * rng.normal(size=(views, samples, dim))
    return np.maximum(features, 0), labels.astype(np.int64)


def write_features(folder, array, labels, *, crops, shards=1, classes=CLASSES, **changes):
    """An extraction's folder, made from arrays."""
    names = [f"train/{classes[0]}/image_{i}.JPEG" for i in range(array.shape[1])]
    written, first = [], 0
    for number, part in enumerate(np.array_split(array.astype(np.float16), shards, axis=1)):
        path = shard_path(folder, number)
        write_shard(path, part, "test")
        hashed = read_json(path.with_suffix(".json"))["sha256"]
        written.append(Shard(path.name, first, part.shape[1], hashed))
        first += part.shape[1]
    content = {
        "dataset": "imagenet",
        "split": "train",
        "kind": "pooled",
        "names": names,
        "labels": np.asarray(labels).tolist(),
        "classes": list(classes),
        "dim": array.shape[2],
        "crops": list(crops),
        "model_sha256": "abc",
        "source": "test",
        **changes,
    }
    write_index(folder / "index.json", content, written)
    return folder / "index.json"
