"""Resizing and blurring of batches as matrix products, one matrix per image and axis.

Pillow's filters are linear and separable. As matrices they serve a whole batch in which every
image has another crop and another radius, antialiased as Pillow does it, which neither
``grid_sample`` nor ``interpolate`` can. Of single images ``interpolate`` is the faster one:
:func:`resized`.
"""

from math import ceil
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Interpolation = Literal["bilinear", "bicubic"]
Number = TypeVar("Number", float, Tensor)


def resampling(
    start: Tensor,
    length: Tensor,
    source: int,
    size: int,
    interpolation: Interpolation,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Weights that crop and resize one axis, as Pillow resizes a cropped image.

    Args:
        start: (n,) first source pixel of the crop.
        length: (n,) length of the crop in source pixels.
        source: length of the source axis.
        size: length of the result.
        interpolation: filter; widened by the scale where the axis shrinks (antialiasing).
        mirrored: (n,) whether to reverse the result.

    Returns:
        (n, size, source), rows summing to one.
    """
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    scale = length / size
    output = torch.arange(size, device=start.device, dtype=start.dtype).view(1, -1, 1)
    if mirrored is not None:
        output = torch.where(mirrored.view(-1, 1, 1), size - 1 - output, output)
    centre = start + (output + 0.5) * scale
    pixel = torch.arange(source, device=start.device, dtype=start.dtype) + 0.5
    weights = _FILTERS[interpolation]((pixel - centre).div_(scale.clamp(min=1)).abs_())
    weights *= (pixel > start) & (pixel < start + length)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _bilinear(distance: Tensor) -> Tensor:
    return (1 - distance).clamp_(min=0)


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5, Pillow's choice (torch's own is -0.75)."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply the weights of both axes.

    Args:
        images: (n, height, 3, width).
        rows: (n or 1, size, height).
        columns: (n or 1, size, width).

    Returns:
        (n, 3, size, size), clipped to [0, 1] as Pillow does between the axes too.
    """
    n, height, channels, width = images.shape
    wide = torch.matmul(images.reshape(n, height * channels, width), columns.transpose(1, 2))
    # Only a filter with negative lobes can leave the range.
    wide = wide.clamp_(0, 1).view(n, height, -1)
    tall = torch.matmul(rows, wide).view(n, rows.shape[1], channels, columns.shape[1])
    return tall.clamp_(0, 1).transpose(1, 2)


def resized(
    levels: NDArray[np.uint8], height: int, width: int, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """One image resized by torch: Pillow's arithmetic on other instructions, 3 to 4 times as fast.

    Args:
        levels: (rows, columns, 3), any part of an image.
        height: of the result.
        width: of the result.
        interpolation: filter.

    Returns:
        (height, width, 3) levels, at most one away from Pillow's but where a bicubic filter
        overshoots.
    """
    # A batch of one, added before the permutation: its stride then tells torch that the channels
    # lie innermost, and the result's do too.
    image = torch.from_numpy(levels).unsqueeze(0).permute(0, 3, 1, 2)
    result = functional.interpolate(image, (height, width), mode=interpolation, antialias=True)
    return np.ascontiguousarray(result.permute(0, 2, 3, 1)[0].numpy())


def blur(images: Tensor, radius: Tensor, largest: float) -> Tensor:
    """Blur as Pillow's ``GaussianBlur``: three box filters, edges continued outwards.

    Args:
        images: (n, 3, size, size).
        radius: (n, 1, 1, 1) standard deviation in pixels.
        largest: upper bound of `radius`, known on the host.
    """
    once = _box_filter(radius.flatten(), images.shape[-1], largest)
    weights = (once @ once @ once).unsqueeze(1)
    return weights @ images @ weights.transpose(2, 3)


def box_radius(deviation: Number) -> Number:
    """Radius of each of the three box filters for a Gaussian of this deviation.

    Pillow's ``_gaussian_blur_radius`` after Gwosdek et al. (2011). The radius is fractional: the
    outermost pixels of the box count in part.
    """
    variance = deviation**2 / 3
    whole = ((12 * variance + 1) ** 0.5 - 1) / 2 // 1
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    radius: Number = whole + part / (6 * (variance - (whole + 1) ** 2))
    return radius


def _box_filter(deviation: Tensor, size: int, largest: float) -> Tensor:
    """Weights (n, size, size) of one of the three passes for a Gaussian of this deviation."""
    half = box_radius(deviation).view(-1, 1, 1)
    margin = ceil(largest) + 1
    position = torch.arange(size, device=half.device, dtype=half.dtype).view(-1, 1)
    pixel = torch.arange(-margin, size + margin, device=half.device, dtype=half.dtype)
    weights = (half + 1 - (pixel - position).abs()).clamp_(0, 1).div_(2 * half + 1)
    inner = weights[:, :, margin : margin + size].contiguous()
    inner[:, :, 0] += weights[:, :, :margin].sum(dim=2)
    inner[:, :, -1] += weights[:, :, margin + size :].sum(dim=2)
    return inner
