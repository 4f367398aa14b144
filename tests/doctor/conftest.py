from pathlib import Path

import pytest

from e2mc.config import Experiment, parse_experiment
from e2mc.data.prepare import prepare

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The demo with its data written to a temporary folder."""
    import yaml

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
    prepare(experiment.data)
    return experiment
