"""Official layouts in and out, at true depth and small width, against re-typed definitions."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config.methods import ER, MI, Backbone, BarlowTwins, Recipe, SimSiam, SwAV, VICReg
from e2mc.config.methods import RECIPES as DEFAULTS
from e2mc.errors import E2MCError
from e2mc.methods import build_method
from e2mc.methods.official import export_official, import_checkpoint
from e2mc.models.store import load_metadata, load_momentum, load_state, load_strict

METHODS = ("vicreg", "swav", "simsiam")
OFFICIAL = json.loads((Path(__file__).parents[1] / "models/official_keys.json").read_text())
BACKBONE = Backbone(width=4)
RECIPES: dict[str, Recipe] = {
    "vicreg": VICReg(projector=(24, 20, 16)),
    "swav": SwAV(projector=(24, 16), prototypes=30, queue_length=0),
    "simsiam": SimSiam(projector=20, predictor=12),
    "er": ER(projector=(24, 20, 16)),
    "mi": MI(projector=(24, 20, 16)),
    "barlow_twins": BarlowTwins(projector=(24, 20, 16)),
}
PREFIXES = {
    "vicreg": ("module.backbone.", "module.projector."),
    "swav": ("module.", "module.projection_head."),
    "simsiam": ("module.encoder.", "module.encoder.fc."),
}
WEIGHTS_ENTRY = {"vicreg": "model", "simsiam": "state_dict"}


def official_keys(method: str) -> dict[str, list[int]]:
    """The layout of the published ResNet-50 files, keys in their order."""
    prefix = OFFICIAL[method]["trunk_prefix"]
    trunk = {prefix + name: shape for name, shape in OFFICIAL["trunk"].items()}
    return trunk | OFFICIAL[method]["heads"]


def random_weights(method: str) -> dict[str, Tensor]:
    """Random tensors under the official names, at the width of this test."""
    module = build_method(RECIPES[method], BACKBONE)
    shapes = [tensor.shape for tensor in module.state_dict().values()]
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for name, shape in zip(official_keys(method), shapes, strict=True):
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(11)
        elif name.endswith("running_var"):
            weights[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            spread = (shape[1:].numel() if len(shape) > 1 else 4) ** -0.5
            weights[name] = spread * torch.randn(shape, generator=generator)
            if len(shape) == 1 and name.endswith("weight"):
                weights[name] += 1
    return weights


def official_file(method: str, weights: Mapping[str, Tensor]) -> Any:
    """The published container, optimizers left empty."""
    if method == "swav":
        return dict(weights)
    entry = {WEIGHTS_ENTRY[method]: dict(weights)}
    extra = {"arch": "resnet50"} if method == "simsiam" else {}
    return {"epoch": 100, **extra, **entry, "optimizer": {"state": {}, "param_groups": []}}


def imported(method: str, content: Any, folder: Path, **changes: Any) -> Path:
    torch.save(content, folder / "source.pth")
    without = {"restore_momentum": False} if method == "vicreg" else {}
    recipe = RECIPES[method].model_copy(update=without | changes)
    target = folder / "imported.safetensors"
    import_checkpoint(folder / "source.pth", recipe, BACKBONE, target)
    return target


class OfficialForward:
    """The official definitions, re-typed on a flat dictionary of tensors, in evaluation mode."""

    def __init__(self, method: str, weights: Mapping[str, Tensor]) -> None:
        self.trunk, self.head = PREFIXES[method]
        self.explicit_padding = method != "simsiam"
        self.weights = weights

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        weight, bias = self.weights.get(f"{name}.weight"), self.weights.get(f"{name}.bias")
        return F.batch_norm(x, mean, var, weight, bias)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def bottleneck(self, x: Tensor, name: str, stride: int) -> Tensor:
        w = self.weights
        y = F.relu(self.norm(F.conv2d(x, w[f"{name}.conv1.weight"]), f"{name}.bn1"))
        y = F.conv2d(y, w[f"{name}.conv2.weight"], stride=stride, padding=1)
        y = F.relu(self.norm(y, f"{name}.bn2"))
        y = self.norm(F.conv2d(y, w[f"{name}.conv3.weight"]), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in w:
            x = F.conv2d(x, w[f"{name}.downsample.0.weight"], stride=stride)
            x = self.norm(x, f"{name}.downsample.1")
        return F.relu(x + y)

    def features(self, x: Tensor) -> Tensor:
        stem = self.weights[f"{self.trunk}conv1.weight"]
        if self.explicit_padding:
            x = F.conv2d(nn.ConstantPad2d(1, 0.0)(x), stem, stride=2, padding=2)
        else:
            x = F.conv2d(x, stem, stride=2, padding=3)
        x = F.max_pool2d(F.relu(self.norm(x, f"{self.trunk}bn1")), 3, 2, 1)
        for stage, blocks in enumerate((3, 4, 6, 3), start=1):
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                x = self.bottleneck(x, f"{self.trunk}layer{stage}.{block}", stride)
        return x.mean(dim=(2, 3))

    def hidden(self, x: Tensor, layer: int) -> Tensor:
        return F.relu(self.norm(self.linear(x, f"{self.head}{layer}"), f"{self.head}{layer + 1}"))


def vicreg_outputs(official: OfficialForward, features: Tensor) -> tuple[Tensor, Tensor | None]:
    hidden = official.hidden(official.hidden(features, 0), 3)
    return official.linear(hidden, "module.projector.6"), None


def swav_outputs(official: OfficialForward, features: Tensor) -> tuple[Tensor, Tensor | None]:
    embeddings = official.linear(official.hidden(features, 0), "module.projection_head.3")
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    return embeddings, official.linear(unit, "module.prototypes")


def simsiam_outputs(official: OfficialForward, features: Tensor) -> tuple[Tensor, Tensor | None]:
    hidden = official.hidden(official.hidden(features, 0), 3)
    z = official.norm(official.linear(hidden, "module.encoder.fc.6"), "module.encoder.fc.7")
    p = F.relu(official.norm(official.linear(z, "module.predictor.0"), "module.predictor.1"))
    return z, official.linear(p, "module.predictor.3")


OUTPUTS: dict[str, Callable[[OfficialForward, Tensor], tuple[Tensor, Tensor | None]]] = {
    "vicreg": vicreg_outputs,
    "swav": swav_outputs,
    "simsiam": simsiam_outputs,
}


@pytest.mark.parametrize("method", METHODS)
def test_keys_at_full_size_are_the_published_ones(method: str) -> None:
    with torch.device("meta"):
        module = build_method(DEFAULTS[method](), Backbone())
    state = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    ours = {module.layout.official(name): shape for name, shape in state.items() if name != "queue"}
    assert ours == official_keys(method)
    assert list(ours) == list(official_keys(method))


@pytest.mark.parametrize("method", METHODS)
def test_imported_model_computes_what_the_official_one_does(method: str, tmp_path: Path) -> None:
    weights = random_weights(method)
    path = imported(method, official_file(method, weights), tmp_path)
    module = build_method(RECIPES[method], BACKBONE).eval()
    load_strict(module, load_state(path), path)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    official = OfficialForward(method, weights)
    with torch.no_grad():
        features = official.features(images)
        embeddings, outputs = OUTPUTS[method](official, features)
        torch.testing.assert_close(module.backbone(images), features)
        z = module.embed(images)
        torch.testing.assert_close(z, embeddings, rtol=1e-4, atol=1e-5)
        if method == "swav":
            torch.testing.assert_close(
                module.prototypes(F.normalize(z, dim=1)), outputs, rtol=1e-4, atol=1e-5
            )
        if method == "simsiam":
            torch.testing.assert_close(module.predictor(z), outputs, rtol=1e-4, atol=1e-5)
    assert embeddings.std() > 0.01  # the comparison is not of zeros


@pytest.mark.parametrize("method", RECIPES)
def test_exported_and_imported_again_is_the_same_model(method: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    recipe = RECIPES[method]
    module = build_method(recipe, BACKBONE)
    momentum = {name: torch.randn_like(p) for name, p in module.named_parameters()}
    source, target = tmp_path / "official.pth", tmp_path / "ours.safetensors"
    export_official(module, 60, source, momentum)
    import_checkpoint(source, recipe, BACKBONE, target)
    state = load_state(target)
    assert all(torch.equal(state[name], t) for name, t in module.state_dict().items())
    load_strict(build_method(recipe, BACKBONE), state, target)
    metadata = load_metadata(target)
    assert metadata["method"] == method and len(metadata["source_sha256"]) == 64
    assert metadata.get("epoch") == (None if method == "swav" else "60")
    restored = load_momentum(target)
    assert restored.keys() == (momentum.keys() if recipe.restores_momentum else set())
    assert all(torch.equal(momentum[name], buffer) for name, buffer in restored.items())


def test_exported_files_have_the_published_structure(tmp_path: Path) -> None:
    function = [(lambda p: p.ndim == 1, "__main__.exclude_bias_and_norm")]
    contents = {}
    for method in METHODS:
        module = build_method(RECIPES[method], BACKBONE)
        momentum = {name: torch.ones_like(p) for name, p in module.named_parameters()}
        for name in ("one", "two"):
            export_official(module, 7, tmp_path / name, momentum)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        with torch.serialization.safe_globals(function):
            contents[method] = torch.load(tmp_path / "one", weights_only=True)
        weights = contents[method]
        if method != "swav":
            weights = weights[WEIGHTS_ENTRY[method]]
        assert list(weights) == list(official_keys(method))
    assert set(contents["vicreg"]) == {"epoch", "model", "optimizer"}
    assert set(contents["simsiam"]) == {"epoch", "arch", "state_dict", "optimizer"}
    optimizer = contents["vicreg"]["optimizer"]
    assert len(optimizer["state"]) == 168 and optimizer["state"][167]["mu"].shape == (16, 20)
    (group,) = optimizer["param_groups"]
    assert group["params"] == list(range(168)) and callable(group["weight_decay_filter"])
    assert not hasattr(sys.modules["__main__"], "exclude_bias_and_norm")


def test_the_plain_loader_refuses_the_vicreg_file_as_it_does_the_published_one(
    tmp_path: Path,
) -> None:
    module = build_method(RECIPES["vicreg"], BACKBONE)
    export_official(module, 1, tmp_path / "file")
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "file")
    assert unsafe == ["__main__.exclude_bias_and_norm"]
    with pytest.raises(Exception, match="exclude_bias_and_norm"):
        torch.load(tmp_path / "file", weights_only=True)


def test_momentum_belongs_to_the_parameter_of_the_same_place(tmp_path: Path) -> None:
    """Against torch's own numbering: an optimizer over the official model's parameters."""
    weights = random_weights("vicreg")
    parameters = [
        name
        for name in weights
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    content = official_file("vicreg", weights)
    content["optimizer"] = {
        "state": {index: {"mu": weights[name] * 2} for index, name in enumerate(parameters)},
        "param_groups": [{"lr": 0.1, "params": list(range(len(parameters)))}],
    }
    momentum = load_momentum(imported("vicreg", content, tmp_path, restore_momentum=True))
    assert len(momentum) == 168
    for name, buffer in momentum.items():
        assert torch.equal(buffer, 2 * weights["module." + name])


def test_missing_momentum_is_explained(tmp_path: Path) -> None:
    content = official_file("vicreg", random_weights("vicreg"))
    with pytest.raises(E2MCError, match=r"momentum.*restore_momentum: false"):
        imported("vicreg", content, tmp_path, restore_momentum=True)
    del content["optimizer"]
    with pytest.raises(E2MCError, match=r"no complete LARS momentum.*restore_momentum: false"):
        imported("vicreg", content, tmp_path, restore_momentum=True)


def test_swav_starts_with_an_empty_queue(tmp_path: Path) -> None:
    content = official_file("swav", random_weights("swav"))
    path = imported("swav", content, tmp_path, queue_length=10)
    module = build_method(RECIPES["swav"].model_copy(update={"queue_length": 10}), BACKBONE)
    load_strict(module, load_state(path), path)
    assert module.queue.shape == (2, 10, 16) and not module.queue.any()


def test_absent_step_counters_become_zero(tmp_path: Path) -> None:
    weights = random_weights("simsiam")
    for name in [name for name in weights if name.endswith("num_batches_tracked")]:
        del weights[name]
    state = load_state(imported("simsiam", official_file("simsiam", weights), tmp_path))
    assert state["backbone.bn1.num_batches_tracked"] == 0
    assert state.keys() == build_method(RECIPES["simsiam"], BACKBONE).state_dict().keys()


@pytest.mark.parametrize("method", METHODS)
def test_differences_are_listed_under_the_official_names(method: str, tmp_path: Path) -> None:
    weights = random_weights(method)
    trunk, head = PREFIXES[method]
    del weights[f"{trunk}layer2.1.bn2.weight"]
    weights["module.unknown"] = torch.zeros(1)
    weights[f"{head}0.weight"] = torch.zeros(5, 7)
    with pytest.raises(E2MCError) as refusal:
        imported(method, official_file(method, weights), tmp_path)
    message = str(refusal.value)
    assert f"missing (1):\n  {trunk}layer2.1.bn2.weight\n" in message
    assert "unexpected (1):\n  module.unknown\n" in message
    assert f"misshapen (1):\n  {head}0.weight is (5, 7), the model has" in message
    assert not (tmp_path / "imported.safetensors").exists()


@pytest.mark.parametrize("method", METHODS)
def test_another_methods_file_is_recognised(method: str, tmp_path: Path) -> None:
    for other in set(METHODS) - {method}:
        content = official_file(other, random_weights(other))
        with pytest.raises(E2MCError, match=f"not an official {method} .*layout of .*{other}"):
            imported(method, content, tmp_path)


def test_other_contents_are_described(tmp_path: Path) -> None:
    trunk = build_method(RECIPES["vicreg"], BACKBONE).backbone
    with pytest.raises(E2MCError, match="a trunk without its projector"):
        imported("vicreg", trunk.state_dict(), tmp_path)
    with pytest.raises(E2MCError, match="an object of type list"):
        imported("vicreg", [1, 2], tmp_path)
    with pytest.raises(E2MCError, match="expected a flat dictionary of tensors, found keys `a`"):
        imported("swav", {"a": 1}, tmp_path)


def test_widths_that_differ_from_the_file_are_refused(tmp_path: Path) -> None:
    content = official_file("swav", random_weights("swav"))
    with pytest.raises(E2MCError, match=r"prototypes\.weight is \(30, 16\), the model has \(31,"):
        imported("swav", content, tmp_path, prototypes=31)


def test_importing_does_not_load_the_compiler_or_sympy(tmp_path: Path) -> None:
    """Each costs seconds of every import job of the demo."""
    module = build_method(RECIPES["simsiam"], BACKBONE)
    export_official(module, 1, tmp_path / "file")
    program = (
        "import sys; from e2mc.methods.official import import_checkpoint as run;"
        "from e2mc.config.methods import Backbone, SimSiam;"
        f"run({str(tmp_path / 'file')!r}, SimSiam(projector=20, predictor=12),"
        f" Backbone(width=4), {str(tmp_path / 'out')!r});"
        "print([m for m in ('sympy', 'torch._dynamo', 'pandas') if m in sys.modules])"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "[]", done.stderr
