"""Views image by image, with the calls of the official code: Pillow through torchvision v1."""

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from e2mc.config.experiment import Images
from e2mc.data.decode import decode_sample
from e2mc.data.draws import Draws, Recipe, draw
from e2mc.data.image_set import LabelledImages
from e2mc.errors import E2MCError
from e2mc.vision import torchvision

functional = torchvision.transforms.functional
MODES = {name: functional.InterpolationMode(name) for name in ("bilinear", "bicubic")}
_JITTER: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def pillow_view(image: Image.Image, draws: Draws, row: int, recipe: Recipe) -> Image.Image:
    """One view of a decoded image, every step in the order and with the calls of the originals.

    Args:
        image: RGB.
        draws: random decisions.
        row: which of them.
        recipe: of the view.
    """
    size = [recipe.size, recipe.size]
    top, left, height, width = (int(side) for side in draws.box[row])
    view: Image.Image = functional.resized_crop(
        image, top, left, height, width, size, MODES[recipe.interpolation]
    )
    if draws.flip[row] and recipe.flip == "after_crop":
        view = functional.hflip(view)
    if draws.jitter[row]:
        for operation in draws.order[row]:
            if recipe.jitter[operation] > 0:
                view = _JITTER[operation](view, float(draws.factors[row, operation]))
    if draws.gray[row]:
        view = functional.rgb_to_grayscale(view, num_output_channels=3)
    if draws.blur[row]:
        view = view.filter(ImageFilter.GaussianBlur(radius=float(draws.radius[row])))
    if draws.solarize[row]:
        view = ImageOps.solarize(view)
    if draws.flip[row] and recipe.flip == "last":
        view = functional.hflip(view)
    return view


def random_views(
    image: Image.Image,
    index: int,
    recipes: Sequence[Recipe],
    key: np.uint64,
    views: Sequence[int],
) -> list[Image.Image]:
    """Random views of one image; arguments as for :func:`e2mc.data.draws.draw`."""
    draws = draw(recipes, key, index, views, image.height, image.width)
    return [pillow_view(image, draws, row, recipe) for row, recipe in enumerate(recipes)]


def fixed_view(
    image: Image.Image, index: int, sizes: Images, crop: Literal["center", "squash"]
) -> list[Image.Image]:
    """The view that a model is tested on; `index` is not used."""
    image = functional.resize(image, sizes.evaluation_resize)
    if crop == "squash":
        return [functional.resize(image, [sizes.size, sizes.size])]
    return [functional.center_crop(image, sizes.size)]


class MadeViews(NamedTuple):
    """The views of one batch, and the indices of its corrupt images, which others stand in for."""

    views: list[Tensor]
    corrupt: list[int]


class ViewBatches(Dataset[MadeViews | E2MCError]):
    """Batches of views; one item is one batch, so that a worker hands over whole tensors.

    Items have one (n, 3, size, size) uint8 tensor per view: normalised on the device, they cross
    from the worker at a quarter of the bytes. Each image is decoded once for all its views. An
    error comes back as an item: raised in a worker it would reach the user wrapped in a
    traceback.

    Args:
        images: data set.
        batches: indices of the images of each batch.
        make: views of a decoded image, given with its index.
        skip_corrupt: put the next decodable image in the place of a corrupt one, with the random
            decisions of that place; by default a corrupt image is an error.
    """

    def __init__(
        self,
        images: LabelledImages,
        batches: Sequence[NDArray[np.int64]],
        make: Callable[[Image.Image, int], list[Image.Image]],
        skip_corrupt: bool = False,
    ) -> None:
        self.images, self.batches, self.make = images, batches, make
        self.skip_corrupt = skip_corrupt

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: int) -> MadeViews | E2MCError:
        views, corrupt = [], []
        try:
            for index in self.batches[batch].tolist():
                image, found = decode_sample(self.images, index, self.skip_corrupt)
                views.append(self.make(image, index))
                if found != index:
                    corrupt.append(index)
        except E2MCError as error:
            return error
        return MadeViews([stacked(view) for view in zip(*views, strict=True)], corrupt)


def stacked(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size as an (n, 3, height, width) uint8 tensor."""
    array = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def load(
    batches: ViewBatches, first: int, workers: int, device: torch.device
) -> Iterator[MadeViews]:
    """Batches from `first` on, in order, on the device.

    Raises:
        E2MCError: an image is missing, or corrupt where that is an error.
    """
    count = len(batches)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, count),
        num_workers=min(workers, count - first),
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_signals_to_the_parent,
        # Without a generator of its own the loader would draw a seed from torch's global one.
        generator=torch.Generator(),
    )
    for item in loader:
        if isinstance(item, E2MCError):
            raise item
        yield MadeViews([view.to(device, non_blocking=True) for view in item.views], item.corrupt)


def _leave_signals_to_the_parent(worker: int) -> None:
    # A cluster signals every process of a job. The trainer saves its state and ends; a worker
    # that died of the same signal first would take the trainer down in the middle of a step.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
