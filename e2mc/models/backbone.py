"""The trunk of every method, and what a trunk has to offer.

Another kind is its shape in the configuration, a subclass of `Trunk`, and a line in
`build_backbone`; training, extraction and fine-tuning ask only what `Trunk` says.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from e2mc.config.methods import Backbone
from e2mc.errors import E2MCError
from e2mc.vision import torchvision

_resnet = torchvision.models.resnet
_BLOCKS = {"basic": _resnet.BasicBlock, "bottleneck": _resnet.Bottleneck}


class Trunk(nn.Module):
    """Images to features."""

    feature_dimension: int
    """D, the channels of the last map; as the shape in the configuration says."""
    one_pixel_size: int = 0
    """Largest images, in pixels, whose map has a single pixel before the last stage; 0: none."""
    checkpointing: bool = False
    """Whether what lies within `checkpointed` stages is computed again in the backward pass."""

    def checkpointed(self) -> list[nn.Module]:
        """Stages that forget what lies within them, if this is asked for."""
        return []

    def feature_map(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) images -> (n, D, h, w), the last map."""
        raise NotImplementedError

    def pool(self, feature_map: Tensor) -> Tensor:
        """(n, D, h, w) -> (n, D), the averages."""
        return F.adaptive_avg_pool2d(feature_map, 1).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) images -> (n, D), the pooled last map."""
        return self.pool(self.feature_map(images))


class ResNet(Trunk, torchvision.models.ResNet):  # type: ignore[misc, name-defined]
    """Torchvision's ResNet: its blocks, state-dict names, arithmetic and initialisation.

    At the default shape this is `torchvision.models.resnet50` without its last layer. The official
    VICReg and SwAV trunks pad the image by one pixel and conv1 by two, which equals conv1's padding
    of three here. torchvision's constructor fixes the stem at 64 channels, so this one is our own.

    Args:
        shape: block, layers, width and stem.
        zero_init_residual: start every residual branch at zero (official VICReg and SimSiam;
            SwAV does not).
    """

    _make_layer: Callable[..., nn.Sequential]

    def __init__(self, shape: Backbone, zero_init_residual: bool = False) -> None:
        nn.Module.__init__(self)
        block, width = _BLOCKS[shape.block], shape.width
        self.feature_dimension = shape.feature_dimension
        # what torchvision's _make_layer reads
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64

        small = shape.stem == "cifar"
        self.one_pixel_size = 4 if small else 16
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, width, shape.layers[0])
        self.layer2 = self._make_layer(block, 2 * width, shape.layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, shape.layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, shape.layers[3], stride=2)
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        if self.conv1.weight.is_meta:  # there is nothing to fill, and trying imports sympy: 8 s
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, _resnet.Bottleneck):
                nn.init.zeros_(module.bn3.weight)
            elif zero_init_residual and isinstance(module, _resnet.BasicBlock):
                nn.init.zeros_(module.bn2.weight)

    def feature_map(self, images: Tensor) -> Tensor:
        """The last stage's map (res5)."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        forgetful = self.checkpointed() if torch.is_grad_enabled() else []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = _recomputed(stage, x) if stage in forgetful else stage(x)
        return x

    def checkpointed(self) -> list[nn.Module]:
        """The first two: their maps are the largest, and half of the work is elsewhere."""
        return [self.layer1, self.layer2] if self.checkpointing else []


def _recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    """A stage whose inside is computed again in the backward pass: the same bits, less memory."""
    made: Tensor = checkpoint(
        stage,
        x,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _statistics_left_alone(stage)),
    )
    return made


@contextmanager
def _statistics_left_alone(stage: nn.Module) -> Iterator[None]:
    """The first pass has counted the batch in; the second counts it into copies."""
    layers = [layer for layer in stage.modules() if isinstance(layer, _BatchNorm)]
    own = [dict(layer.named_buffers(recurse=False)) for layer in layers]
    for layer, buffers in zip(layers, own, strict=True):
        for name, buffer in buffers.items():
            setattr(layer, name, buffer.clone())
    try:
        yield
    finally:
        for layer, buffers in zip(layers, own, strict=True):
            for name, buffer in buffers.items():
                setattr(layer, name, buffer)


def build_backbone(shape: Backbone, zero_init_residual: bool = False) -> Trunk:
    """The randomly initialised trunk of this shape; see `ResNet`."""
    return ResNet(shape, zero_init_residual)


def quarter_pool(feature_map: Tensor) -> Tensor:
    """Average a map down to 2 x 2 with overlapping windows, for the iNat18 probe.

    The kernel is one less than the map, with stride 1: for 7 x 7 maps this is VISSL's
    AvgPool(6, stride 1), 2048 x 2 x 2 = 8192 features.

    Args:
        feature_map: (n, D, h, w).

    Returns:
        (n, D, 2, 2).

    Raises:
        E2MCError: the map is smaller than 2 x 2.
    """
    height, width = feature_map.shape[-2:]
    if min(height, width) < 2:
        raise E2MCError(
            f"the backbone's last feature map is {height} x {width}, but the 2 x 2 pooling of the "
            "iNat18 probe needs at least 2 x 2: raise `images.size`, or use `stem: cifar`"
        )
    return F.avg_pool2d(feature_map, kernel_size=(height - 1, width - 1), stride=1)
