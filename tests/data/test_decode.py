"""Every kind of image file: decoded right, or refused by name."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from e2mc.config.experiment import Images
from e2mc.config.methods import VICReg
from e2mc.data.decode import CorruptImageError, decode, decode_levels
from e2mc.data.device_views import crops
from e2mc.data.draws import TRAINING, recipes, stream
from e2mc.data.pillow_views import random_views
from e2mc.errors import E2MCError

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
READERS = [decode, decode_levels]
"""With Pillow alone, and with OpenCV where it is installed: the same bits."""


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_upper_bits(tmp_path, read, suffix) -> None:
    grey = RNG.integers(0, 65536, (8, 9), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    levels = np.asarray(read(tmp_path / f"a.{suffix}"))
    assert levels.shape == (8, 9, 3)
    assert (levels == (grey // 256)[:, :, None]).all()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("kind", "said"), [(np.float32, "floats"), (np.int32, "integers")])
def test_pixels_of_unknown_range_are_refused(tmp_path, read, kind, said) -> None:
    """Pillow would make them all black or all white."""
    Image.fromarray(RNG.uniform(0, 1, (8, 9)).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(E2MCError, match=rf"a\.tif holds {said}.*scale the images") as refused:
        read(tmp_path / "a.tif")
    assert not isinstance(refused.value, CorruptImageError), "nothing may stand in for it"


@pytest.mark.parametrize("read", READERS)
def test_cmyk(tmp_path, read) -> None:
    """Against the definition, (255 - ink) (255 - black) / 255, and JPEG's inverted inks."""
    inks = RNG.integers(0, 256, (7, 8, 4), dtype=np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif")
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    assert np.abs(np.asarray(read(tmp_path / "a.tif")) - expected).max() <= 1
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.JPEG", quality=95)
    cyan = np.asarray(read(tmp_path / "a.JPEG")).reshape(-1, 3)
    assert np.abs(cyan.astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("read", READERS)
def test_transparency_is_dropped_and_the_colour_below_it_kept(tmp_path, read) -> None:
    palette = Image.fromarray(LEVELS).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(0, 256, 16)))
    assert np.array_equal(read(tmp_path / "palette.png"), palette.convert("RGB"))
    alpha = RNG.integers(0, 256, (*LEVELS.shape[:2], 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([LEVELS, alpha], axis=2)).save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "alpha.png"), LEVELS)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_the_first_frame_of_an_animation(tmp_path, read, suffix) -> None:
    first, second = Image.fromarray(LEVELS), Image.fromarray(255 - LEVELS)
    path = tmp_path / f"a.{suffix}"
    first.save(path, save_all=True, append_images=[second], lossless=True)
    with Image.open(path) as file:
        assert len(list(ImageSequence.Iterator(file))) == 2
    assert np.array_equal(read(path), first)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", ["JPEG", "png", "webp"])
def test_truncated(tmp_path, read, suffix) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(LEVELS).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(CorruptImageError, match=rf"cannot decode image .*a\.{suffix}"):
        read(path)


@pytest.mark.parametrize("size", [(30_000, 3), (2, 30_000)])
def test_30_000_pixels_long(tmp_path, size) -> None:
    Image.fromarray(LEVELS).resize(size).save(tmp_path / "a.JPEG")
    chosen, key = recipes(VICReg().views, Images(size=16, evaluation_resize=16)), stream(TRAINING)
    image, levels = decode(tmp_path / "a.JPEG"), decode_levels(tmp_path / "a.JPEG")
    assert np.array_equal(image, levels)
    assert levels.shape == (*size[::-1], 3)
    for made in (
        random_views(image, 0, chosen, key, (0, 1)),
        crops(levels, 0, chosen, key, (0, 1)),
    ):
        assert [view.shape for view in made] == [(3, 16, 16)] * 2


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "name", ["two  blanks.png", 'it\'s "quoted".png', "new\nline.png", "ü ☃.png"]
)
def test_names(tmp_path, read, name) -> None:
    Image.fromarray(LEVELS).save(tmp_path / name)
    assert np.array_equal(read(tmp_path / name), LEVELS)
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(CorruptImageError) as refused:
        read(tmp_path / name)
    assert name in str(refused.value)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 99}])
def test_opencv_reads_the_bits_that_pillow_reads(tmp_path, options) -> None:
    pytest.importorskip("cv2")
    smooth = Image.fromarray(LEVELS).resize((71, 45), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[274] = 6  # rotated, which no official code heeds
    for mode in ("RGB", "L"):
        smooth.convert(mode).save(tmp_path / "a.JPEG", exif=turned, **options)
        assert np.array_equal(decode(tmp_path / "a.JPEG"), decode_levels(tmp_path / "a.JPEG"))


@pytest.mark.filterwarnings("ignore")
def test_opencv_accepts_no_jpeg_that_pillow_refuses(tmp_path) -> None:
    """A damaged file is damaged in every pipeline, and a readable one is read to the same bits."""
    pytest.importorskip("cv2")
    path, rng = tmp_path / "a.JPEG", np.random.default_rng(1)
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    sound = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for number in range(200):
        content = sound.copy()
        content[rng.integers(2, len(sound) if number % 2 else 600, 3)] = rng.integers(0, 256, 3)
        cut = rng.integers(2, len(sound)) if number % 5 == 0 else len(sound)
        path.write_bytes(content[:cut].tobytes())
        try:
            expected = np.asarray(decode(path))
        except CorruptImageError:
            refused += 1
            with pytest.raises(CorruptImageError):
                decode_levels(path)
        else:
            assert np.array_equal(decode_levels(path), expected)
    assert 40 < refused < 160
