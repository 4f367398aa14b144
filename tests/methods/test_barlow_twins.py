"""Against the official `main.py`, re-typed: model, loss, optimizer groups and checkpoint."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from e2mc.config.methods import Backbone, BarlowTwins
from e2mc.errors import E2MCError
from e2mc.methods import build_method
from e2mc.methods.barlow_twins import barlow_twins_loss
from e2mc.methods.official import export_official, import_checkpoint
from e2mc.models import load_momentum, load_state, load_strict
from e2mc.vision import torchvision

SMALL = Backbone(layers=(1, 1, 1, 1), width=4, stem="cifar")
RECIPE = BarlowTwins(projector=(24, 20, 16))


class Official(nn.Module):
    """ResNet-50, a projector without any bias, and a BatchNorm without weights."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet50(zero_init_residual=True)
        self.backbone.fc = nn.Identity()
        sizes, layers = (2048, *widths), []
        for inputs, outputs in pairwise(sizes[:-1]):
            layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.projector = nn.Sequential(*layers, nn.Linear(*sizes[-2:], bias=False))
        self.bn = nn.BatchNorm1d(sizes[-1], affine=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        z_a, z_b = self.projector(self.backbone(a)), self.projector(self.backbone(b))
        return official_loss(self.bn, z_a, z_b, 0.0051)


def official_loss(bn: nn.BatchNorm1d, z_a: Tensor, z_b: Tensor, weight: float) -> Tensor:
    c = torch.einsum("ij,ik->jk", bn(z_a), bn(z_b)) / len(z_a)
    off_diagonal = c[~torch.eye(len(c), dtype=torch.bool)]
    return ((c.diagonal() - 1) ** 2).sum() + weight * (off_diagonal**2).sum()


def views(n: int, d: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return [
        (0.8 * common + 0.3 * torch.randn(n, d, generator=generator, dtype=torch.float64))
        .mul(torch.linspace(0.2, 2, d))
        .add(1.5)
        .requires_grad_()
        for _ in range(2)
    ]


@pytest.mark.parametrize("shape", [(16, 5), (6, 40)])
@pytest.mark.parametrize("weight", [0.0051, 0.0, 3.0])
def test_is_the_official_loss_in_value_and_gradient(shape: tuple[int, int], weight: float) -> None:
    a, b = views(*shape)
    theirs = official_loss(nn.BatchNorm1d(shape[1], affine=False).double(), a, b, weight)
    ours = barlow_twins_loss(a, b, weight)
    torch.testing.assert_close(ours, theirs)
    for mine, official in zip(
        torch.autograd.grad(ours, (a, b)), torch.autograd.grad(theirs, (a, b)), strict=True
    ):
        torch.testing.assert_close(mine, official)


def test_equal_decorrelated_views_cost_nothing() -> None:
    """Columns of a Hadamard matrix have mean 0, variance 1 and no correlation."""
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    z = torch.kron(torch.kron(two, two), two)[:, 1:]
    assert barlow_twins_loss(z, z).item() == pytest.approx(0, abs=1e-8)
    # 7 columns that are anticorrelated between the views, and none beside
    assert barlow_twins_loss(z, -z).item() == pytest.approx(7 * 4, rel=1e-4)
    shared = z[:, :1].expand(-1, 7)
    assert barlow_twins_loss(shared, shared).item() == pytest.approx(0.0051 * 42, rel=1e-4)


def test_half_precision_is_computed_in_float32_even_under_autocast() -> None:
    a, b = (view.detach().bfloat16() for view in views(32, 16))
    expected = barlow_twins_loss(a.float(), b.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = barlow_twins_loss(a, b)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("shapes", [((1, 4), (1, 4)), ((4, 3), (4, 2)), ((4,), (4,))])
def test_impossible_input_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(E2MCError, match=r"at least 2 images|two views \(n, d\) of one shape"):
        barlow_twins_loss(*(torch.zeros(shape) for shape in shapes))


def test_criteria_see_the_projectors_output_with_gradient() -> None:
    torch.manual_seed(0)
    module = build_method(RECIPE.model_copy(update={"redundancy": 0.3}), SMALL)
    images = [torch.randn(6, 3, 16, 16), 3 + torch.randn(6, 3, 16, 16)]
    step = module(images)
    for embedding, view in zip(step.embeddings, images, strict=True):
        torch.testing.assert_close(embedding, module.embed(view))
    torch.testing.assert_close(step.loss, barlow_twins_loss(*step.embeddings, 0.3))
    terms = step.terms
    weighed = terms["barlow_twins_invariance"] + 0.3 * terms["barlow_twins_redundancy"]
    torch.testing.assert_close(step.loss.detach(), weighed)
    (step.loss + step.embeddings[0].square().mean()).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_biases_and_batch_norm_learn_at_the_official_fraction() -> None:
    module = build_method(RECIPE, SMALL)
    weights, others = module.parameter_groups(RECIPE.continued)
    assert all(p.ndim > 1 for p in weights["params"])
    assert all(p.ndim == 1 for p in others["params"])
    assert 0.2 * others["relative_rate"] == pytest.approx(0.0048)
    assert "relative_rate" not in weights


def test_keys_at_full_size_are_the_official_ones() -> None:
    with torch.device("meta"):
        ours, official = build_method(BarlowTwins(), Backbone()), Official((8192, 8192, 8192))
    renamed = {
        ours.layout.official(name): tensor.shape for name, tensor in ours.state_dict().items()
    }
    expected = {f"module.{name}": tensor.shape for name, tensor in official.state_dict().items()}
    assert renamed == expected
    assert list(renamed) == list(expected)


def official_file(model: Official) -> dict[str, Any]:
    """What `main.py` saves: the state of the parallel model, and an optimizer of two groups."""
    weights = [p for p in model.parameters() if p.ndim != 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD([{"params": weights}, {"params": biases}], lr=0.2).state_dict()
    optimizer["state"] = {
        index: {"mu": 2 * parameter.detach()} for index, parameter in enumerate(weights + biases)
    }
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    return {"epoch": 1000, "model": state, "optimizer": optimizer}


def test_an_imported_model_is_the_official_one_and_so_is_its_momentum(tmp_path: Path) -> None:
    torch.manual_seed(0)
    official = Official(RECIPE.projector)
    for block in official.backbone.modules():  # residual branches that count for something
        if isinstance(block, torchvision.models.resnet.Bottleneck):
            nn.init.uniform_(block.bn3.weight)
    images = [torch.randn(4, 3, 64, 64) for _ in range(2)]
    official(*images).backward()  # running statistics that are not the initial ones
    torch.save(official_file(official), tmp_path / "checkpoint.pth")
    import_checkpoint(tmp_path / "checkpoint.pth", RECIPE, Backbone(), tmp_path / "imported")

    module = build_method(RECIPE, Backbone())
    load_strict(module, load_state(tmp_path / "imported"), "imported")
    with torch.no_grad():
        torch.testing.assert_close(module.train()(images).loss, official(*images))
        module.eval(), official.eval()
        expected = official.projector(official.backbone(images[0]))
        torch.testing.assert_close(module.embed(images[0]), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module.bn(expected), official.bn(expected))

    momentum = load_momentum(tmp_path / "imported")
    named = dict(official.named_parameters())
    assert momentum.keys() == named.keys()
    for name, buffer in momentum.items():
        # this optimizer saw the weights after the gradient but before any step
        assert torch.equal(buffer, 2 * named[name].detach()), name


def test_an_exported_file_has_the_official_structure(tmp_path: Path) -> None:
    module = build_method(RECIPE, SMALL)
    momentum = {name: torch.randn_like(p) for name, p in module.named_parameters()}
    export_official(module, 7, tmp_path / "file", momentum)
    function = [(lambda p: p.ndim == 1, "__main__.exclude_bias_and_norm")]
    with torch.serialization.safe_globals(function):
        content = torch.load(tmp_path / "file", weights_only=True)
    assert content.keys() == {"epoch", "model", "optimizer"}
    weights, others = content["optimizer"]["param_groups"]
    assert weights["params"] + others["params"] == list(range(len(momentum)))
    state = content["optimizer"]["state"]
    assert all(state[index]["mu"].ndim > 1 for index in weights["params"])
    assert all(state[index]["mu"].ndim == 1 for index in others["params"])


def test_the_released_trunk_alone_is_refused_with_the_reason(tmp_path: Path) -> None:
    """`resnet50.pth` beside the full checkpoint."""
    torch.save(build_method(RECIPE, SMALL).backbone.state_dict(), tmp_path / "resnet50.pth")
    with pytest.raises(E2MCError, match="a trunk without its projector"):
        import_checkpoint(tmp_path / "resnet50.pth", RECIPE, SMALL, tmp_path / "imported")
