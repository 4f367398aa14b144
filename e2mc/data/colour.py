"""Colour operations on batches, each image with a factor of its own.

Images are (n, 3, height, width) float in [0, 1], factors (n, 1, 1, 1). The formulas are those of
torchvision's tensor functional, with Pillow's luma.
"""

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """ITU-R 601-2 luma, (n, 1, height, width), as Pillow's mode L."""
    red, green, blue = images.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green).add_(blue, alpha=_LUMA[2]).unsqueeze(1)


def gray(images: Tensor) -> Tensor:
    """Luma in all three channels."""
    return luma(images).expand_as(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return (images * factor).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean luma of each image."""
    mean = luma(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma."""
    return torch.lerp(luma(images), images, factor).clamp_(0, 1)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV by a share of the full circle."""
    red, green, blue = images.unbind(1)
    value, brightest = images.max(dim=1)
    chroma = value - images.amin(dim=1)
    scale = chroma.clamp(min=1e-12).reciprocal_()
    sector = torch.where(
        brightest == 0,
        (green - blue) * scale,
        torch.where(brightest == 1, (blue - red) * scale + 2, (red - green) * scale + 4),
    )
    sector += 6 * turns[:, 0]
    # Each channel falls from the value by the chroma, scaled by how far the hue is from its own.
    offsets = images.new_tensor([5, 3, 1]).view(3, 1, 1)
    distance = (sector.unsqueeze(1) + offsets).remainder_(6)
    share = torch.minimum(distance, 4 - distance).clamp_(0, 1)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * share


def solarize(images: Tensor) -> Tensor:
    """Invert what is brighter than half; 0.5 lies between the levels 127 and 128 of Pillow."""
    return torch.where(images >= 0.5, 1 - images, images)


JITTER = (brightness, contrast, saturation, hue)
"""In the order in which the draws number them."""
