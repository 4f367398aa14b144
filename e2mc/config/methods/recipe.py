"""What the recipes of all methods share: trunk, views, optimizer, schedule, and the facts."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from e2mc.config.criteria import Criterion
from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.ranges import Count, Deviations, PositiveRange, Probability, ShareRange, Some
from e2mc.config.strict import Strict


class Backbone(Strict):
    """The trunk: torchvision's ResNet, by default its ResNet-50."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    """Residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1."""
    layers: tuple[Count, Count, Count, Count] = (3, 4, 6, 3)
    """Blocks in each of the four stages."""
    width: int = Field(64, ge=1, le=10_000)
    """Channels of the stem; stage i has width * 2^i (times 4 after a bottleneck)."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """7x7 convolution with stride 2 and max-pooling, or a single 3x3 convolution."""

    @property
    def feature_dimension(self) -> int:
        """Channels of the last feature map."""
        return self.width * 8 * (4 if self.block == "bottleneck" else 1)


Jitter = Annotated[float, Field(ge=0)]
HueJitter = Annotated[float, Field(ge=0, le=0.5)]


class Views(Strict):
    """Random views of one image, in the order the official code applies them."""

    scale: ShareRange = (0.08, 1.0)
    """Area of the full crops as a share of the image."""
    small_scale: ShareRange = (0.05, 0.14)
    """Area of the small crops (SwAV's multi-crop)."""
    full_views: int = Field(2, ge=2, le=100)
    """Number of full-resolution crops."""
    small_views: int = Field(0, ge=0, le=100)
    """Number of small crops."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Resampling of the crops."""
    flip: Literal["after_crop", "last"] = "after_crop"
    """Where the horizontal flip (probability `flip_probability`) stands in the order."""
    flip_probability: float = Field(0.5, ge=0, le=1)
    """Probability of the flip; 0 for images whose mirror image is another class."""
    jitter: tuple[Jitter, Jitter, Jitter, HueJitter] = (0.4, 0.4, 0.4, 0.1)
    """Strength of the brightness, contrast, saturation and hue jitter."""
    jitter_probability: float = Field(0.8, ge=0, le=1)
    """Probability of the colour jitter."""
    gray_probability: float = Field(0.2, ge=0, le=1)
    """Probability of dropping all colour."""
    blur_probability: Annotated[tuple[Probability, ...], Some] = (0.5,)
    """Probability of a Gaussian blur, per full view (one value serves all)."""
    small_blur_probability: float = Field(0.5, ge=0, le=1)
    """Probability of a Gaussian blur of a small view."""
    blur_radius: PositiveRange = (0.1, 2.0)
    """Range of the blur's standard deviation in pixels."""
    solarize_probability: Annotated[tuple[Probability, ...], Some] = (0.0,)
    """Probability of solarisation, per full view (one value serves all)."""
    normalization_std: Deviations = (0.229, 0.224, 0.225)
    """Standard deviations of the input normalisation; SwAV's official code uses 0.228 for red."""
    pipeline: Literal["pillow", "fast", "device", "tensor"] = "pillow"
    """Who makes the views, of the same random decisions. `pillow`: image by image as the official
    code; `fast`: the same with torch and OpenCV (`pip install "e2mc[fast]"`); `device`: workers
    cut the crops, the device does the rest; `tensor`: all on the device, for images of one small
    size. What each costs and how far it is from `pillow`: docs/views.md."""


class Optimizer(Strict):
    """Update rule and its constants (the learning rate belongs to the schedule)."""

    rule: Literal["lars", "larc", "sgd"] = "sgd"
    """`lars`: VICReg's, divides by the norm of the decayed gradient; `larc`: apex LARC over SGD,
    divides by the sum of both norms, as solo-learn's LARS does; `sgd`: plain momentum."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum; no Nesterov."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty added to the gradient."""
    trust: float = Field(0.001, gt=0)
    """Trust coefficient of LARS and LARC (solo-learn's `eta`: 0.02)."""
    clip: bool = False
    """LARS and LARC never move a parameter faster than plain SGD: the trust ratio becomes
    min(ratio / rate, 1) (apex `clip`, solo-learn `clip_lr`)."""
    adapt_1d: bool | None = None
    """Whether LARS and LARC decay and adapt biases and BatchNorm too; null: as the rule's official
    script, `lars` does not, `larc` does (solo-learn `exclude_bias_n_norm: true` is `false`)."""

    @model_validator(mode="after")
    def _sgd_adapts_nothing(self) -> Self:
        if self.rule == "sgd" and (self.clip or self.adapt_1d is not None):
            raise ValueError("clip and adapt_1d belong to lars and larc: sgd has no trust ratio")
        return self


class Training(Strict):
    """How long, how fast and on what batches a model trains."""

    epochs: int = Field(10, ge=1, le=1_000_000)
    """Passes over the training images (paper, section 5: ten)."""
    batch_size: int = Field(512, ge=2, le=10_000_000)
    """Images per step over all processes (paper, section 5: 512 = 2 GPUs x 256)."""
    learning_rate: float = Field(gt=0)
    """The effective learning rate: what the optimizer sees, after any scaling by batch size."""
    predictor_learning_rate: float | None = Field(None, gt=0)
    """SimSiam's predictor may learn at a rate of its own; null: the same."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`constant` (e2mc's scripts, continued training) or a cosine to `final_learning_rate`."""
    final_learning_rate: float = Field(0.0, ge=0)
    """Where the cosine ends (official scripts from scratch: VICReg a thousandth of the rate, SwAV
    0.0006, SimSiam 0)."""
    schedule_step: Literal["step", "epoch"] = "step"
    """Whether the cosine moves with every step (VICReg, SwAV) or once per epoch (SimSiam)."""
    freeze_prototypes_steps: int = Field(0, ge=0)
    """First steps in which SwAV's prototypes are not updated, against collapse (official: 313 from
    scratch, 5,005 in the 400-epoch script; the official continuation passes 2,503)."""
    queue_start_epoch: int = Field(0, ge=0)
    """Epoch, from 0, in which SwAV's queue begins to fill (official scripts: 15 from scratch, 7 in
    the continuation)."""
    warmup_epochs: int = Field(0, ge=0)
    """Linear warm-up from zero before the schedule."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast type of the network; losses and criteria are always computed in float32. What its
    rounding does to E2MC's gradient: docs/faithfulness.md."""
    checkpointing: bool = Field(False, exclude=True)
    """Compute the trunk's first two stages again in the backward pass instead of keeping them: the
    same bits, less than half of the memory, more time. `e2mc doctor` says what a GPU needs."""
    compile: bool = False
    """torch.compile the trunk: a minute or more at every start, fewer per epoch on a GPU. Rounding
    differs."""


class Recipe(Strict):
    """What every method's recipe has; the class variables are facts that no experiment changes.

    Nothing here needs torch: Snakemake plans with these facts. `e2mc.methods` holds networks,
    losses and official checkpoint layouts.
    """

    title: ClassVar[str]
    """Name in tables."""
    implementation: ClassVar[str]
    """The `e2mc.methods.Method` of this recipe, as `module:class`."""
    drops_last: ClassVar[bool]
    """Whether the official loader leaves out an epoch's last, partial batch."""
    shape: ClassVar[dict[str, Any]]
    """The keys that decide which checkpoint fits, as pydantic's `include`: what an import sees."""
    fits_of: ClassVar[str]
    """Key of the fits in `evaluation.linear` and `evaluation.semisup`: usually its own name."""
    linear: ClassVar[dict[Percent, LinearFit]]
    """Default fits of the linear probe."""
    semisup: ClassVar[dict[FewPercent, FineTune]]
    """Default fine-tuning; empty: there is no published protocol, and none is run."""
    paper_criteria: ClassVar[tuple[Criterion, ...]]
    """The criteria with which the paper continued this method, with its weights; may be empty."""
    hours: ClassVar[float]
    """Hours of ten epochs on two RTX 8000, as the paper reports them."""
    reported_loss: ClassVar[tuple[float, float] | None] = None
    """Base loss of trained ImageNet models as others report it; None: nobody published one."""
    weight_bytes: ClassVar[int]
    """Bytes of a ResNet-50 with the default heads in float32."""

    method: str
    """Its name."""
    views: Views
    """Views of the images."""
    optimizer: Optimizer
    """Update rule."""
    continued: Training
    """Continued pre-training."""
    scratch: Training | None = None
    """Pre-training from random weights, for experiments that make their own base model."""

    @property
    def restores_momentum(self) -> bool:
        """Whether training starts from the momentum inside an official checkpoint."""
        return False
