"""Colour operations on batches, each image with factors of its own.

Images are (n, 3, height, width) float in [0, 1]. The formulas are those of torchvision's tensor
functional, with Pillow's luma.
"""

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R 601-2 luma."""


def luma(images: Tensor) -> Tensor:
    """ITU-R 601-2 luma, (n, 1, height, width), as Pillow's mode L."""
    red, green, blue = images.chunk(3, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def gray(images: Tensor) -> Tensor:
    """Luma in all three channels."""
    return luma(images).expand_as(images)


def blend_(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """Adjust brightness, contrast or saturation, in place.

    All three move an image away from something duller: black, its mean luma, its luma.

    Args:
        images: (n, 3, height, width).
        operation: (n, 1, 1, 1) which of the three; images with HUE are returned as they are.
        factor: (n, 1, 1, 1); 1 changes nothing.
    """
    grey = luma(images)
    mean = grey.mean(dim=(2, 3), keepdim=True) * (operation == CONTRAST)
    dull = (grey * (operation == SATURATION)).add_(mean)
    factor = torch.where(operation == HUE, 1.0, factor)
    return images.mul_(factor).add_(dull.mul_(1 - factor)).clamp_(0, 1)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV by `turns` (n, 1, 1, 1), shares of the full circle."""
    red, green, blue = images.chunk(3, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = chroma.clamp(min=1e-12).reciprocal_()
    sector = torch.where(
        red == value,
        green - blue,
        torch.where(
            green == value,
            (blue - red).add_(chroma, alpha=2),
            (red - green).add_(chroma, alpha=4),
        ),
    )
    sector.mul_(scale).add_(turns * 6)
    # Each channel falls below the value by the chroma times how far the hue is from its own.
    offsets = torch.arange(5, 0, -2, dtype=images.dtype, device=images.device).view(3, 1, 1)
    distance = (sector + offsets).remainder_(6)
    share = torch.minimum(distance, 4 - distance).clamp_(0, 1)
    return value - share.mul_(chroma)


def solarize(images: Tensor) -> Tensor:
    """Invert what is brighter than half; 0.5 lies between the levels 127 and 128 of Pillow."""
    return torch.where(images >= 0.5, 1 - images, images)
