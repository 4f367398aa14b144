"""The records of data sets and protocols point to what is there."""

import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from e2mc.config import Experiment, parse_experiment, stages
from e2mc.config.evaluation import Evaluation
from e2mc.config.protocols import (
    DATASETS,
    EMBEDDINGS,
    FEW_SHOT,
    LINEAR,
    LINEAR_ONLINE,
    PROTOCOLS,
    cached_shares,
    dataset_of,
    dataset_of_result,
    online_shares,
    protocol_of,
    transfer_datasets,
)
from e2mc.errors import E2MCError

ROOT = Path(__file__).parents[2]


def demo(**data: object) -> dict[str, object]:
    content = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    content["data"] |= data
    return dict(content)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.stage)
def test_a_protocol_has_options_and_a_function_of_its_name(protocol) -> None:
    assert (protocol.folder or protocol.stage) in Evaluation.model_fields
    assert callable(resolve_name(f"e2mc.evaluation.{protocol.stage}:{protocol.stage}"))
    assert protocol.dataset is None or protocol.dataset in DATASETS


@pytest.mark.parametrize("name", [*DATASETS, "flowers"])
def test_a_data_set_has_a_loader(name: str) -> None:
    assert callable(resolve_name(dataset_of(name).opener))


def test_records_need_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'numpy', 'scipy', 'matplotlib'}"
    code = f"import sys, e2mc.config.protocols; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("result", "stage", "dataset"),
    [
        ("linear-10", "linear", "imagenet"),
        ("semisup-1", "semisup", "imagenet"),
        ("knn", "knn", "imagenet"),
        ("snapshots", "snapshots", "imagenet"),
        ("inat18", "inat18", "inat18"),
        ("voc07", "voc07", "voc07"),
        ("flowers-knn-5", "few_shot", "flowers"),
        ("linearb-linear-1", "few_shot", "linearb"),
    ],
)
def test_the_name_of_a_result_tells_its_protocol(result: str, stage: str, dataset: str) -> None:
    assert protocol_of(result).stage == stage
    assert dataset_of_result(result).name == dataset


def test_names_of_results() -> None:
    experiment = parse_experiment(demo(), "demo")
    assert LINEAR_ONLINE.folders(experiment) == ("linear-1", "linear-10")
    assert LINEAR.folders(experiment) == ("linear-100",)
    assert protocol_of("voc07").folders(experiment) == ("voc07",)
    assert FEW_SHOT.folders(experiment, "pets")[:2] == ("pets-linear-1", "pets-linear-5")
    assert dataset_of_result(EMBEDDINGS).name == "imagenet"


def linear(**options: object) -> Experiment:
    content = demo()
    content["evaluation"] = {"linear": options}
    return parse_experiment(content, "demo")


def test_shares_with_as_many_views_as_epochs_are_not_cached() -> None:
    assert (online_shares(linear()), cached_shares(linear())) == ((1, 10), (100,))
    few = linear(views=8)
    assert few.evaluation.linear.views == {1: 8, 10: 8, 100: 8}
    assert LINEAR_ONLINE.folders(few) == ()
    assert LINEAR.folders(few) == ("linear-1", "linear-10", "linear-100")
    every = linear(views=100)
    assert LINEAR.folders(every) == ()
    crops = stages.extract_settings(every, "swav-30", 0, ("imagenet",)).datasets["imagenet"].train
    assert (crops.views, crops.fixed) == (0, "center")
    mixed = linear(views={10: 30, 100: 20})
    crops = stages.extract_settings(mixed, "swav-30", 0, ("imagenet",)).datasets["imagenet"].train
    assert crops.views == 30
    assert stages.linear_settings(mixed, "swav-30", 0).views == {10: 30, 100: 20}
    assert protocol_of("linear-1", mixed) == LINEAR_ONLINE
    assert protocol_of("linear-10", mixed) == protocol_of("linear-1") == LINEAR


def test_a_share_is_cached_unless_all_bases_see_fresh_views() -> None:
    """A job's results have the same names for every base."""
    assert online_shares(linear(views={1: 50}, swav={1: {"epochs": 50}})) == (10,)


def test_views_that_no_epoch_uses_are_refused() -> None:
    with pytest.raises(E2MCError, match=r"swav.1 has 50 epochs .* set views.1 to 50 or less"):
        linear(swav={1: {"epochs": 50}})
    with pytest.raises(E2MCError, match=r"evaluation.linear.views.*greater than or equal to 1"):
        linear(views={10: 0})


def test_a_share_without_a_number_keeps_the_default() -> None:
    assert linear(views={100: 4}).evaluation.linear.views == {1: 100, 10: 100, 100: 4}


def test_transfer_data_sets_are_those_with_a_folder() -> None:
    trees = {"flowers": {"root": "f"}, "pets": {"root": "p"}}
    experiment = parse_experiment(demo(inat18=None, transfer=trees), "demo")
    assert transfer_datasets(experiment) == ("voc07", "flowers", "pets")
    seen = stages.extract_settings(experiment, "swav-30", 0, ("flowers",)).datasets["flowers"]
    assert (seen.data, seen.train.views, seen.train.fixed) == (Path("f"), 0, "center")
    with pytest.raises(E2MCError, match=r"data.inat18 is null.*no 'inat18'"):
        stages.extract_settings(experiment, "swav-30", 0, ("inat18",))


@pytest.mark.parametrize("name", ["inat18", "linear", "few_shot", "embeddings", "workers"])
def test_a_tree_cannot_take_a_name_that_means_something_else(name: str) -> None:
    with pytest.raises(E2MCError, match=rf"data.transfer.{name}: the name is taken"):
        parse_experiment(demo(transfer={name: {"root": "x"}}), "demo")


def test_a_dash_would_hide_where_the_name_ends() -> None:
    with pytest.raises(E2MCError, match="transfer"):
        parse_experiment(demo(transfer={"oxford-pets": {"root": "x"}}), "demo")
