import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from e2mc.config.methods import Backbone
from e2mc.errors import E2MCError
from e2mc.models.backbone import Trunk, build_backbone, quarter_pool
from e2mc.vision import torchvision

OFFICIAL = json.loads((Path(__file__).parent / "official_keys.json").read_text())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet50", Backbone()), ("resnet18", Backbone(block="basic", layers=(2, 2, 2, 2)))],
)
@pytest.mark.parametrize("training", [True, False])
def test_is_torchvisions_without_classifier(name: str, shape: Backbone, training: bool) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name)
    theirs.fc = torch.nn.Identity()
    ours = build_backbone(shape)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours.train(training)(images), theirs.train(training)(images))


def test_keys_and_shapes_are_the_official_trunks() -> None:
    with torch.device("meta"):
        state = build_backbone(Backbone()).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == OFFICIAL["trunk"]
    assert list(state) == list(OFFICIAL["trunk"])
    assert len(state) == 318


def test_is_initialised_as_torchvisions() -> None:
    """Same distribution per layer: kaiming, fan out; and BatchNorm weights one or zero."""
    ours = build_backbone(Backbone(width=32), zero_init_residual=True)
    for name, parameter in ours.named_parameters():
        if parameter.ndim == 4:
            fan_out = parameter.shape[0] * parameter[0, 0].numel()
            tolerance = 6 / (2 * parameter.numel()) ** 0.5
            assert parameter.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=tolerance)
        elif name.endswith("weight"):
            assert parameter.eq(0.0 if "bn3" in name else 1.0).all()
    assert build_backbone(Backbone(width=8)).layer1[0].bn3.weight.eq(1).all()
    basic = build_backbone(Backbone(block="basic", width=8), zero_init_residual=True)
    assert basic.layer1[0].bn2.weight.eq(0).all()


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize(("stem", "reduction"), [("imagenet", 32), ("cifar", 8)])
def test_any_width_and_stem(block: str, stem: str, reduction: int) -> None:
    shape = Backbone.model_validate(
        {"block": block, "layers": (1, 2, 1, 1), "width": 6, "stem": stem}
    )
    backbone = build_backbone(shape).eval()
    images = torch.randn(2, 3, 64, 64)
    maps = backbone.feature_map(images)
    assert maps.shape == (2, shape.feature_dimension, 64 // reduction, 64 // reduction)
    torch.testing.assert_close(backbone(images), maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_one_pixel_size_is_the_largest_that_shrinks_to_one_pixel(stem: str) -> None:
    shape = Backbone.model_validate(
        {"block": "basic", "layers": (1, 1, 1, 1), "width": 2, "stem": stem}
    )
    backbone = build_backbone(shape).eval()
    sizes: list[int] = []
    backbone.layer4.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    for size in (backbone.one_pixel_size, backbone.one_pixel_size + 1):
        backbone.feature_map(torch.zeros(1, 3, size, size))
    assert sizes == [1, 2]


def test_another_kind_of_trunk_brings_its_map_alone() -> None:
    class Patches(Trunk):
        feature_dimension = 12

        def feature_map(self, images: Tensor) -> Tensor:
            return F.pixel_unshuffle(images, 2)

    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    pooled = Patches()(images)
    assert pooled.shape == (2, 12)
    corners = images[:, :, ::2, ::2].mean(dim=(2, 3))
    torch.testing.assert_close(pooled[:, ::4], corners)


def test_quarter_pool_averages_four_overlapping_windows() -> None:
    maps = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    windows = [
        [maps[:, :, i : i + 6, j : j + 6].mean(dim=(2, 3)) for j in range(2)] for i in range(2)
    ]
    expected = torch.stack([torch.stack(row, dim=-1) for row in windows], dim=-2)
    torch.testing.assert_close(quarter_pool(maps), expected)
    small = torch.randn(1, 3, 2, 2)
    assert torch.equal(quarter_pool(small), small)
    assert quarter_pool(torch.randn(1, 4, 3, 5)).shape == (1, 4, 2, 2)


def test_quarter_pool_refuses_smaller_maps() -> None:
    with pytest.raises(E2MCError, match=r"1 x 4.*images\.size"):
        quarter_pool(torch.randn(1, 3, 1, 4))
