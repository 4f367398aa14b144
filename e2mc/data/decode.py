"""Image files to pixels, with Pillow: published numbers come from its decoder."""

import re
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from e2mc.data.image_set import LabelledImages
from e2mc.errors import E2MCError

Pixels = TypeVar("Pixels")

_UNSCALED = ("I", "F")
"""Pillow's modes of 32-bit integers and floats: no level of theirs is black or white."""
_OUT_OF_PLACE = re.compile(rb"\xff[^\x00\xc4\xd0-\xd7\xda\xff]")
"""A marker that does not belong into the compressed data of a JPEG file."""


class CorruptImageError(E2MCError):
    """A file was read, and is no image that can be decoded completely."""


def decode(path: Path | str) -> Image.Image:
    """Decode one image file completely, as RGB.

    Grey, palette and CMYK files (ImageNet has some of each) are converted, transparency is
    dropped and of an animation the first frame is taken, as in all official code. Of 16 bits the
    upper 8 are kept, for grey files too, which Pillow alone would clip to white.

    Raises:
        CorruptImageError: the file is no image, truncated or corrupt; the message names it.
        E2MCError: the file is missing or cannot be read, or its pixels are 32-bit integers or
            floats, of which nobody knows the range.
    """
    try:
        with Image.open(path) as image:
            return _as_rgb(image, path)
    except E2MCError:
        raise
    except FileNotFoundError as error:
        raise E2MCError(f"image {path} does not exist: restore it from the archive") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # none of Pillow's own
            raise E2MCError(f"cannot read image {path}: {error.strerror}") from error
        raise CorruptImageError(
            f"cannot decode image {path}: {error}. The file is truncated or corrupt: restore it "
            "from the archive; `e2mc doctor --all-images` lists every such file."
        ) from error


def _as_rgb(image: Image.Image, path: Path | str) -> Image.Image:
    if image.mode in _UNSCALED:
        kind = "floats" if image.mode == "F" else "integers beyond 8 bits"
        raise E2MCError(
            f"image {path} holds {kind}, and what is black and what is white in them is not known: "
            "scale the images of this data set to 8 bits"
        )
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def decode_levels(path: Path | str) -> NDArray[np.uint8]:
    """The pixels of :func:`decode` as an array, decoded by OpenCV where it is installed.

    OpenCV reads JPEG files in two thirds of the time, by the same libjpeg-turbo and to the same
    bits. It gets those whose end is there and whose compressed data hold no stray marker; what
    Pillow has to convert, or might refuse, Pillow decodes.

    Returns:
        (height, width, 3) levels of red, green and blue.

    Raises:
        CorruptImageError, E2MCError: as :func:`decode`.
    """
    cv2 = _opencv()
    levels = None if cv2 is None else _jpeg(path, cv2)
    return np.array(decode(path)) if levels is None else levels


def planes(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(3, height, width) of (height, width, 3), one channel after the other in memory."""
    cv2 = _opencv()
    if cv2 is None:
        return np.ascontiguousarray(levels.transpose(2, 0, 1))
    split = np.empty((3, *levels.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(levels), list(split))
    return split


@cache
def _opencv() -> ModuleType | None:
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return cv2


def _jpeg(path: Path | str, cv2: ModuleType) -> NDArray[np.uint8] | None:
    """A sound JPEG file that needs no conversion; None where Pillow has to decide."""
    try:
        content = Path(path).read_bytes()
        with Image.open(BytesIO(content)) as image:
            plain = image.format == "JPEG" and image.mode in ("RGB", "L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    data = content[content.rfind(b"\xff\xda") + 2 : -2]
    if not plain or not content.endswith(b"\xff\xd9") or _OUT_OF_PLACE.search(data):
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    levels: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return levels


def decode_sample(
    images: LabelledImages,
    index: int,
    skip_corrupt: bool,
    decoder: Callable[[Path], Pixels],
) -> tuple[Pixels, int]:
    """One image of a set and, if asked for, the next sound one where it is corrupt.

    What stands in depends on the files alone, so it is the same in every epoch, worker and
    process. Nothing stands in for a file that is missing or cannot be read: the whole disk may be
    gone.

    Args:
        images: data set.
        index: of the image.
        skip_corrupt: let the next sound image stand in for a corrupt one.
        decoder: :func:`decode` or :func:`decode_levels`.

    Returns:
        The image as RGB, and the index it was found at (the first follows the last).

    Raises:
        CorruptImageError: the image is corrupt or, if those are skipped, every image is.
        E2MCError: a file is missing or cannot be read.
    """
    if not skip_corrupt:
        return decoder(images.path(index)), index
    for step in range(len(images)):
        at = (index + step) % len(images)
        try:
            return decoder(images.path(at)), at
        except CorruptImageError:
            continue
    raise CorruptImageError(f"none of the {len(images)} images in {images.root} can be decoded")
