"""What all methods share: the step they compute, and which parameters they train."""

from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from e2mc.config.methods import Backbone, Recipe, Training
from e2mc.criteria import gather_rows
from e2mc.errors import E2MCError
from e2mc.methods.layout import Layout
from e2mc.models.backbone import Trunk, build_backbone


class Step(NamedTuple):
    """What a method makes of one batch."""

    loss: Tensor
    """The base loss, a scalar with gradient, the same on every rank."""
    embeddings: list[Tensor]
    """One (n, d) per view, with gradient, of this rank's images: what criteria look at."""
    terms: dict[str, Tensor]
    """Detached scalars for the history: the parts of the loss, unweighted."""


class Method(nn.Module):
    """A trunk, its heads, and the loss on the views of one batch.

    The keys of the state dict are those of `model.safetensors`: `backbone.*`, `projector.*`, and
    `prototypes.*` or `predictor.*`, and what training carries along (SwAV's `queue`).

    Calling it with a list of views, each (n, 3, height, width), full ones first, gives a `Step`.

    A subclass makes its heads after the trunk, in the order of the official parameters, each
    initialised as in the official code.

    Args:
        recipe: of this method.
        backbone: shape of the trunk.
    """

    layout: ClassVar[Layout]
    """Of the official checkpoints; base models that an experiment makes are written in it too."""
    zero_init_residual: ClassVar[bool] = True
    """Whether the trunk's residual branches start at zero."""
    full_views = 2
    """How many of the views are full-resolution: criteria see the embeddings of these."""
    backbone: Trunk
    projector: nn.Module

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "layout"):
            raise TypeError(f"{cls.__name__} in {cls.__module__} lacks `layout`")

    def __init__(self, recipe: Recipe, backbone: Backbone) -> None:
        super().__init__()
        self.name = recipe.method
        self.backbone = build_backbone(backbone, self.zero_init_residual)

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) images -> (n, d) embeddings, the projector's output."""
        embeddings: Tensor = self.projector(self.backbone(images))
        return embeddings

    def uninformed_loss(self, images: int) -> float | None:
        """The base loss of a model that has learned nothing; by default unknown.

        A trained checkpoint lies clearly below it in its first step. One that does not was read or
        is shown images in another way than it was trained.

        Args:
            images: in a batch, over all ranks.
        """
        return None

    def parameter_groups(self, training: Training) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer; frozen parameters are left out."""
        return [{"params": trainable(self)}]

    def before_step(self, step: int, epoch: int, training: Training) -> None:
        """Heed what the schedule says of the coming step; by default nothing.

        Called before each forward pass, so that a resumed run knows it as well.

        Args:
            step: steps done, from 0.
            epoch: epochs done, from 0.
            training: the schedule.
        """

    def after_backward(self) -> None:
        """Change gradients before they are used; by default nothing."""

    def after_step(self, step: int, steps: int) -> None:
        """Change what the optimizer does not, such as a momentum teacher; by default nothing.

        Called once after each update, before a state is saved. What it changes must be in the
        state dict.

        Args:
            step: steps done, from 1.
            steps: steps of the whole training.
        """

    def official_groups(self) -> list[list[str]]:
        """Names of the parameters in the groups of the official optimizer, frozen ones included."""
        return [[name for name, _ in self.named_parameters()]]


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen, in order."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def pair(views: list[Tensor], method: str) -> tuple[Tensor, Tensor]:
    """The two views of a method that compares exactly two.

    Raises:
        E2MCError: any other number of views.
    """
    if len(views) != 2:
        raise E2MCError(
            f"{method} compares two views of each image and got {len(views)}: set "
            f"`methods.{method}.views` to `full_views: 2` and `small_views: 0`"
        )
    return views[0], views[1]


def global_mean(rows: Tensor) -> Tensor:
    """The mean of one number per image over the images of all ranks, with gradient.

    Every rank gets the same value, and DistributedDataParallel's average of the gradients is the
    gradient of the whole batch, also where ranks hold unequal numbers of images.

    Args:
        rows: (n,).
    """
    return gather_rows(rows.unsqueeze(1)).mean()
