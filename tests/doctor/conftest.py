from pathlib import Path

import numpy as np
import pytest
import yaml

from e2mc.config import Experiment, parse_experiment
from e2mc.data import digits
from e2mc.data.prepare import prepare

ROOT = Path(__file__).parents[2]


def _noise(per_digit: int) -> digits.Digits:
    labels = np.repeat(np.arange(10), per_digit)
    pixels = np.random.default_rng(per_digit).integers(0, 256, (len(labels), 8, 8), np.uint8)
    return digits.Digits(pixels, labels)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The demo, its layouts filled with noise: importing scikit-learn would take longest."""
    folder = tmp_path_factory.mktemp("demo")
    content = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    content["data"] = {
        "prepare": "digits",
        "imagenet": {
            "root": folder / "imagenet",
            "lists": {percent: folder / f"imagenet/{percent}percent.txt" for percent in (1, 10)},
        },
        "inat18": folder / "inat18",
        "voc07": folder / "VOCdevkit/VOC2007",
    }
    experiment = parse_experiment(content, "demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "split_digits", lambda: {"train": _noise(60), "test": _noise(40)})
        prepare(experiment.data)
    return experiment
