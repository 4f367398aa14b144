"""Image files to pixels, with Pillow: published numbers come from its decoder."""

from pathlib import Path

from PIL import Image

from e2mc.errors import E2MCError


def decode(path: Path | str) -> Image.Image:
    """Decode one image file completely, as RGB.

    Grey, palette and CMYK files (ImageNet has some of each) are converted.

    Raises:
        E2MCError: the file is missing, no image, truncated or corrupt; the message names it.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise E2MCError(f"image {path} does not exist: restore it from the archive") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise E2MCError(
            f"cannot decode image {path}: {error}. The file is truncated or corrupt: restore it "
            "from the archive; `e2mc doctor --all-images` lists every such file."
        ) from error
