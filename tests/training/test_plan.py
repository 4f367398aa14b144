from pathlib import Path

from e2mc.config import parse_experiment
from e2mc.config.methods import RECIPES
from e2mc.config.stages import pretrain_settings, scratch_settings
from e2mc.training.distributed import Place
from e2mc.training.plan import describe, describe_first_step, make_plan

METHODS = ("vicreg", "swav", "simsiam")
EXPERIMENT = {
    "name": "plan",
    "bases": {name: {"method": name, "epochs": 1} for name in METHODS},
    "criteria": {"e2mc": {name: RECIPES[name].paper_criteria[0].model_dump() for name in METHODS}},
    "methods": {name: {"scratch": {"learning_rate": 1.0}} for name in METHODS},
}


def test_the_papers_own_recipe_is_recognised():
    experiment = parse_experiment(EXPERIMENT, "test")
    for method, steps in (("vicreg", 2503), ("swav", 2502), ("simsiam", 2502)):
        settings = pretrain_settings(experiment, method, "e2mc", 0)
        plan = make_plan(settings, Path("base"), 1_281_167, steps, Place(0, 2, 0))
        differing = {what for what, (here, paper) in plan.items() if here != paper}
        assert differing <= {"starts from", "device"}, method
        assert plan["steps"] == (10 * steps, 10 * steps)


def test_differences_stand_beside_the_papers_values():
    training = {"batch_size": 128, "learning_rate": 0.3, "precision": "bfloat16"}
    changed = {**EXPERIMENT, "methods": {**EXPERIMENT["methods"]}}
    changed["methods"]["vicreg"] = {**changed["methods"]["vicreg"], "continued": training}
    settings = pretrain_settings(parse_experiment(changed, "test"), "vicreg", "continued", 0)
    text = describe(make_plan(settings, Path("base"), 1000, 8, Place(0, 1, 0)))
    lines = {line[2:26].strip(): line[26:] for line in text.splitlines()}
    assert lines["effective batch"] == "128  (paper: 512)"
    assert lines["effective learning rate"] == "0.3 constant  (paper: 0.006 constant)"
    assert lines["steps per epoch"] == "8  (paper: 2503)"
    assert lines["left out of an epoch"] == "0 images  (as the paper)"
    assert lines["epochs"] == "10  (as the paper)"
    assert lines["criterion"] == "none  (as the paper)"
    assert lines["precision"] == "bfloat16  (paper: float16)"


def test_options_of_the_trust_ratio_are_said():
    changed = {"optimizer": {"rule": "larc", "trust": 0.02, "clip": True, "adapt_1d": False}}
    vicreg = {**EXPERIMENT["methods"]["vicreg"], **changed}
    experiment = {**EXPERIMENT, "methods": {**EXPERIMENT["methods"], "vicreg": vicreg}}
    settings = pretrain_settings(parse_experiment(experiment, "test"), "vicreg", "continued", 0)
    here, paper = make_plan(settings, Path("base"), 1000, 8, Place(0, 1, 0))["optimizer"]
    common = "momentum 0.9, decay 1e-06"
    assert here == f"larc, {common}, trust 0.02, clipped, 1-d parameters left out"
    assert paper == f"lars, {common}, trust 0.001"


def test_the_first_loss_stands_beside_what_is_known_of_it():
    found = {"base_loss": -0.91234, "nothing_learned": 0.0, "reported": (-0.94, -0.93)}
    line = describe_first_step(found)
    assert line.split("  (")[0].split() == ["first", "base", "loss", "-0.9123"]
    assert line.endswith("(0 where nothing was learned; -0.94 to -0.93 reported on ImageNet)")
    unknown = {"base_loss": 3.5, "nothing_learned": None, "reported": None}
    assert describe_first_step(unknown).split() == ["first", "base", "loss", "3.5"]


def test_training_from_scratch_is_nothing_the_paper_did():
    settings = scratch_settings(parse_experiment(EXPERIMENT, "test"), "swav")
    plan = make_plan(settings, None, 1000, 1, Place(0, 1, 0))
    assert plan["effective learning rate"] == ("1 constant", None)
    assert plan["starts from"][0] == "random weights"
