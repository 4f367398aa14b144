"""Image files to pixels, with Pillow: published numbers come from its decoder."""

from pathlib import Path

from PIL import Image

from e2mc.data.image_set import LabelledImages
from e2mc.errors import E2MCError


class CorruptImageError(E2MCError):
    """A file was read, and is no image that can be decoded completely."""


def decode(path: Path | str) -> Image.Image:
    """Decode one image file completely, as RGB.

    Grey, palette and CMYK files (ImageNet has some of each) are converted.

    Raises:
        CorruptImageError: the file is no image, truncated or corrupt; the message names it.
        E2MCError: the file is missing or cannot be read.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise E2MCError(f"image {path} does not exist: restore it from the archive") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # none of Pillow's own
            raise E2MCError(f"cannot read image {path}: {error.strerror}") from error
        raise CorruptImageError(
            f"cannot decode image {path}: {error}. The file is truncated or corrupt: restore it "
            "from the archive; `e2mc doctor --all-images` lists every such file."
        ) from error


def decode_sample(
    images: LabelledImages, index: int, skip_corrupt: bool
) -> tuple[Image.Image, int]:
    """One image of a set and, if asked for, the next sound one where it is corrupt.

    What stands in depends on the files alone, so it is the same in every epoch, worker and
    process. Nothing stands in for a file that is missing or cannot be read: the whole disk may be
    gone.

    Returns:
        The image as RGB, and the index it was found at (the first follows the last).

    Raises:
        CorruptImageError: the image is corrupt or, if those are skipped, every image is.
        E2MCError: a file is missing or cannot be read.
    """
    if not skip_corrupt:
        return decode(images.path(index)), index
    for step in range(len(images)):
        at = (index + step) % len(images)
        try:
            return decode(images.path(at)), at
        except CorruptImageError:
            continue
    raise CorruptImageError(f"none of the {len(images)} images in {images.root} can be decoded")
