import csv
import json
from pathlib import Path

import pytest
import torch
import torch._dynamo

from e2mc.config import parse_experiment, stages
from e2mc.config.criteria import E2MC, MMCR
from e2mc.config.experiment import Images
from e2mc.config.settings import TrainSettings
from e2mc.errors import E2MCError
from e2mc.methods.official import import_checkpoint
from e2mc.models import load_momentum, load_state
from e2mc.training import loop, resumable
from e2mc.training.distributed import Place
from e2mc.training.optim import momentum_of
from e2mc.training.run import build_run
from e2mc.training.state import load_newest_state, run_lock
from tests.training.tiny import BACKBONE, CRITERION, RECIPES, RESULTS, tiny_settings, train


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


def first_loss_by_hand(settings: TrainSettings) -> float:
    """The base loss of the first batch of the first epoch, outside the loop."""
    run = build_run(settings, None, Place(0, 1, 0))
    views, _ = next(loop._open_data(settings, Place(0, 1, 0)).epoch(0))
    loss: float = run.module(views).loss.item()
    return loss


def same(first: Path, second: Path) -> bool:
    a, b = load_state(first), load_state(second)
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("method", "rate"),
    [("vicreg", 0.03), ("swav", 1.0), ("simsiam", 0.05), ("barlow_twins", 0.3)],
)
def test_the_loss_goes_down(images, tmp_path, method, rate):
    train(tiny_settings(images, method, epochs=30, learning_rate=rate), tmp_path)
    losses = [row["loss"] for row in history(tmp_path)]
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.01


def test_history_and_metrics(images, tmp_path):
    settings = tiny_settings(images, criterion=CRITERION, schedule="cosine")
    train(settings, tmp_path)
    rows = history(tmp_path)
    assert list(rows[0]) == [
        *("epoch", "loss", "vicreg_invariance", "vicreg_variance", "vicreg_covariance"),
        *("entropy", "covariance", "learning_rate", "corrupt_images"),
        *("images_per_second", "data_wait_share"),
    ]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        base = 25 * (row["vicreg_invariance"] + row["vicreg_variance"]) + row["vicreg_covariance"]
        assert row["loss"] == pytest.approx(
            base - 0.1 * row["entropy"] + row["covariance"], rel=1e-5
        )
        assert 0 < row["data_wait_share"] < 1
        assert row["corrupt_images"] == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["final"] == rows[-1]
    assert metrics["provenance"]["settings"]["seed"] == settings.seed
    first = metrics["first_step"]
    assert first["base_loss"] == pytest.approx(first_loss_by_hand(settings), rel=1e-5)
    assert first["nothing_learned"] == pytest.approx(24.75) and first["reported"] is None
    assert metrics["plan"]["effective batch"] == {"run": 8, "paper": None}
    assert metrics["cost"]["processes"] == 1 and metrics["cost"]["restarts"] == 0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["progress.json"]
    progress = json.loads((tmp_path / "state/progress.json").read_text())
    assert (progress["status"], progress["step"], progress["epoch"]) == ("finished", 9, 3)


def test_a_last_batch_of_one_image_is_left_out_and_the_plan_says_so(images, tmp_path, capsys):
    train(tiny_settings(images, criterion=CRITERION, batch_size=23), tmp_path)
    said = [line.split("  ")[1:] for line in capsys.readouterr().out.splitlines()]
    assert ["left out of an epoch", "1 images"] in [[w.strip() for w in line if w] for line in said]
    progress = json.loads((tmp_path / "state/progress.json").read_text())
    assert (progress["step"], progress["epoch"]) == (3, 3)


def test_two_runs_give_the_same_weights_and_another_seed_others(images, tmp_path):
    settings = tiny_settings(images, "swav")
    first = train(settings, tmp_path / "1")
    assert same(first, train(settings, tmp_path / "2"))
    other = settings.model_copy(update={"seed": 4})
    assert not same(first, train(other, tmp_path / "3"))


def test_a_criterion_changes_the_weights_unless_it_weighs_nothing(images, tmp_path):
    start = train(tiny_settings(images), tmp_path / "start")
    nothing = E2MC(space="hypersphere", entropy_weight=0, covariance_weight=0)
    models = [
        train(tiny_settings(images, criterion=criterion), tmp_path / str(index), start)
        for index, criterion in enumerate((None, nothing, CRITERION))
    ]
    assert same(models[0], models[1])
    assert not same(models[0], models[2])
    assert not same(models[0], start)


@pytest.mark.parametrize(
    ("criterion", "views"), [(CRITERION, 2), (MMCR(), 3)], ids=["full views", "all views"]
)
def test_a_criterion_sees_the_views_it_asks_for(images, tmp_path, monkeypatch, criterion, views):
    seen = []

    class Spy(loop.Run):
        pass

    built = loop.build_run

    def spying(*arguments):
        run = built(*arguments)
        terms = run.criterion.terms
        run.criterion.terms = lambda shown: seen.append(len(shown)) or terms(shown)
        return run

    monkeypatch.setattr(loop, "build_run", spying)
    train(tiny_settings(images, "swav", criterion, epochs=1), tmp_path)
    assert set(seen) == {views}


def test_scratch_to_official_checkpoint_and_back_with_momentum(images, tmp_path):
    settings = tiny_settings(images)
    reference = train(settings, tmp_path)
    outputs = [tmp_path / name for name in ("base.pth", "h.csv", "m.json")]
    loop.train(settings, None, *outputs, tmp_path / "state")
    imported = tmp_path / "imported.safetensors"
    import_checkpoint(outputs[0], settings.recipe, settings.backbone, imported)
    assert same(reference, imported)
    momentum = load_momentum(imported)
    assert momentum and any(buffer.abs().sum() > 0 for buffer in momentum.values())
    run = build_run(settings, imported, Place(0, 1, 0))
    restored = momentum_of(run.optimizer, run.module)
    assert all(torch.equal(restored[name], momentum[name]) for name in momentum)
    for name in ("restored", "fresh"):
        if name == "fresh":
            without = settings.recipe.model_copy(update={"restore_momentum": False})
            settings = settings.model_copy(update={"recipe": without})
            import_checkpoint(outputs[0], settings.recipe, settings.backbone, imported)
        train(settings, tmp_path / name, imported)
    assert not same(tmp_path / "restored" / RESULTS[0], tmp_path / "fresh" / RESULTS[0])


def test_an_imported_queue_has_the_shape_that_training_gives_it(images, tmp_path):
    """Three full views instead of two: nothing but the import's own slice may say so."""
    recipe = {
        **{"projector": [16, 8], "prototypes": 6, "queue_length": 16},
        **{"views": {"full_views": 3, "pipeline": "tensor"}},
    }
    schedule = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    content = {
        "name": "three",
        "data": {"imagenet": {"root": str(images), "lists": {}}},
        "images": {"size": 8, "small_size": 6, "evaluation_resize": 8},
        "backbone": BACKBONE.model_dump(),
        "methods": {"swav": {**recipe, "scratch": schedule, "continued": schedule}},
        "bases": {"swav": {"method": "swav", "epochs": 1}},
        "criteria": {"e2mc": {"swav": CRITERION.model_dump()}},
    }
    experiment = parse_experiment(content, "three")
    outputs = [tmp_path / name for name in ("base.pth", "h.csv", "m.json")]
    loop.train(stages.scratch_settings(experiment, "swav"), None, *outputs, tmp_path / "state")
    imported = tmp_path / "imported"
    settings = stages.import_checkpoint_settings(experiment, "swav")
    import_checkpoint(outputs[0], settings.recipe, settings.backbone, imported)
    model = train(stages.pretrain_settings(experiment, "swav", "e2mc", 0), tmp_path, imported)
    assert load_state(model)["queue"].shape == (3, 16, 8)


def test_weights_of_another_shape_are_refused(images, tmp_path):
    start = train(tiny_settings(images), tmp_path)
    wider = RECIPES["vicreg"].model_copy(update={"projector": (16, 16, 32)})
    settings = tiny_settings(images).model_copy(update={"recipe": wider})
    with pytest.raises(E2MCError, match="does not fit the model"):
        train(settings, tmp_path / "wider", start)


@pytest.mark.parametrize("criterion", [None, CRITERION], ids=["base loss", "criterion"])
def test_a_loss_that_is_not_finite_names_step_and_terms(images, tmp_path, monkeypatch, criterion):
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    settings = tiny_settings(images, "simsiam", criterion, learning_rate=1e30)
    with pytest.raises(E2MCError, match=r"step \d: .*base loss .*simsiam_loss nan.*learning rate"):
        train(settings, tmp_path)
    step, _ = load_newest_state(tmp_path / "state")
    assert step >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert json.loads((tmp_path / "state/progress.json").read_text())["status"] == "failed"


def test_float16_becomes_bfloat16_on_a_cpu(images, tmp_path, capsys):
    model = train(tiny_settings(images, precision="float16"), tmp_path / "half")
    assert "this run uses bfloat16" in capsys.readouterr().out
    assert same(model, train(tiny_settings(images, precision="bfloat16"), tmp_path / "brain"))
    assert not same(model, train(tiny_settings(images), tmp_path / "single"))


@pytest.mark.parametrize(
    ("stem", "full", "small", "refused"),
    [
        ("cifar", 8, 4, "images.small_size: views of 4 pixels"),
        ("cifar", 4, 8, "images.size: views of 4 pixels"),
        ("imagenet", 17, 16, "images.small_size: views of 16 pixels"),
        ("imagenet", 17, 17, None),
        ("cifar", 5, 5, None),
    ],
)
def test_bfloat16_is_refused_where_its_gradients_are_wrong(images, stem, full, small, refused):
    sizes = Images(size=full, small_size=small, evaluation_resize=8)
    shape = {"backbone": BACKBONE.model_copy(update={"stem": stem}), "images": sizes}
    half = tiny_settings(images, "swav", precision="bfloat16").model_copy(update=shape)
    if refused is None:
        build_run(half, None, Place(0, 1, 0))
        return
    with pytest.raises(E2MCError, match=refused):
        build_run(half, None, Place(0, 1, 0))
    build_run(tiny_settings(images, "swav").model_copy(update=shape), None, Place(0, 1, 0))


@pytest.mark.parametrize("size", [2, 3])
def test_bfloat16_gradients_of_the_smallest_maps_that_are_admitted(size):
    generator = torch.Generator().manual_seed(size)
    images = torch.randn(64, 16, size, size, generator=generator)
    convolution = torch.nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False)
    convolution(images).square().sum().backward()
    exact = convolution.weight.grad.clone()
    for _ in range(20):
        garbage = torch.full((16 * 16 * 9,), torch.inf)
        del garbage
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            made = convolution(images.contiguous(memory_format=torch.channels_last))
        made.float().square().sum().backward()
        error = (convolution.weight.grad - exact).norm() / exact.norm()
        assert error < 0.02


@pytest.mark.parametrize("method", ["vicreg", "swav", "simsiam"])
def test_a_compiled_trunk_learns_the_same(images, tmp_path, monkeypatch, method):
    """With the compiler's front end alone, which leaves the arithmetic: bit by bit."""
    plain = train(tiny_settings(images, method, CRITERION), tmp_path / "plain")
    original = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: original(module, backend="eager")
    )
    torch._dynamo.reset()
    compiled_before = torch._dynamo.utils.counters["frames"]["ok"]
    compiled = train(tiny_settings(images, method, CRITERION, compile=True), tmp_path / "compiled")
    assert torch._dynamo.utils.counters["frames"]["ok"] > compiled_before
    assert same(plain, compiled)


@pytest.mark.slow
def test_compiled_to_machine_code(images, tmp_path):
    results = [
        train(
            tiny_settings(images, "simsiam", epochs=1, learning_rate=0.01, compile=choice),
            tmp_path / str(choice),
        )
        for choice in (False, True)
    ]
    plain, compiled = map(load_state, results)
    for name, weight in plain.items():
        torch.testing.assert_close(weight, compiled[name], rtol=1e-3, atol=1e-4)


def test_a_second_training_on_one_run_directory_is_refused(images, tmp_path):
    with run_lock(tmp_path / "state"), pytest.raises(E2MCError, match="in use by process"):
        train(tiny_settings(images), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
