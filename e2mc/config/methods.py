"""Recipes of the base methods: views, heads, losses, optimizers and schedules.

Every default is the one the paper used, with its source beside it. "e2mc" stands for the
official repository deepc94/e2mc at 875d8de, "official" for the method's own repository.
"""

from typing import Literal

from pydantic import Field

from e2mc.config.strict import Strict

Method = Literal["vicreg", "swav", "simsiam", "er", "mi"]


class Backbone(Strict):
    """The trunk: torchvision's ResNet, by default its ResNet-50."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    """Residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1."""
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Blocks in each of the four stages."""
    width: int = Field(64, ge=1)
    """Channels of the stem; stage i has width * 2^i (times 4 after a bottleneck)."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """7x7 convolution with stride 2 and max-pooling, or a single 3x3 convolution."""

    @property
    def feature_dimension(self) -> int:
        """Channels of the last feature map."""
        return self.width * 8 * (4 if self.block == "bottleneck" else 1)


class Views(Strict):
    """Random views of one image, in the order the official code applies them."""

    scale: tuple[float, float] = (0.08, 1.0)
    """Area of the full crops as a share of the image."""
    small_scale: tuple[float, float] = (0.05, 0.14)
    """Area of the small crops (SwAV's multi-crop)."""
    full_views: int = Field(2, ge=2)
    """Number of full-resolution crops."""
    small_views: int = Field(0, ge=0)
    """Number of small crops."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Resampling of the crops."""
    flip: Literal["after_crop", "last"] = "after_crop"
    """Where the horizontal flip (probability `flip_probability`) stands in the order."""
    flip_probability: float = Field(0.5, ge=0, le=1)
    """Probability of the flip; 0 for images whose mirror image is another class."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    """Strength of the brightness, contrast, saturation and hue jitter."""
    jitter_probability: float = Field(0.8, ge=0, le=1)
    """Probability of the colour jitter."""
    gray_probability: float = Field(0.2, ge=0, le=1)
    """Probability of dropping all colour."""
    blur_probability: tuple[float, ...] = (0.5,)
    """Probability of a Gaussian blur, per full view (one value serves all)."""
    small_blur_probability: float = Field(0.5, ge=0, le=1)
    """Probability of a Gaussian blur of a small view."""
    blur_radius: tuple[float, float] = (0.1, 2.0)
    """Range of the blur's standard deviation in pixels."""
    solarize_probability: tuple[float, ...] = (0.0,)
    """Probability of solarisation, per full view (one value serves all)."""
    normalization_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviations of the input normalisation; SwAV's official code uses 0.228 for red."""
    pipeline: Literal["pillow", "fast", "device", "tensor"] = "pillow"
    """Who makes the views, of the same random decisions. `pillow`: image by image as the official
    code; `fast`: the same with torch and OpenCV (`pip install "e2mc[fast]"`); `device`: workers
    cut the crops, the device does the rest; `tensor`: all on the device, for images of one small
    size. What each costs and how far it is from `pillow`: docs/views.md."""


class Optimizer(Strict):
    """Update rule and its constants (the learning rate belongs to the schedule)."""

    rule: Literal["lars", "larc", "sgd"] = "sgd"
    """`lars`: VICReg's, 1-d parameters neither decayed nor adapted; `larc`: apex LARC without
    clipping over SGD, adapts every parameter; `sgd`: plain momentum."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum; no Nesterov."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty added to the gradient."""
    trust: float = Field(0.001, gt=0)
    """Trust coefficient of LARS and LARC."""


class Training(Strict):
    """How long, how fast and on what batches a model trains."""

    epochs: int = Field(10, ge=1)
    """Passes over the training images (paper, section 5: ten)."""
    batch_size: int = Field(512, ge=2)
    """Images per step over all processes (paper, section 5: 512 = 2 GPUs x 256)."""
    learning_rate: float = Field(gt=0)
    """The effective learning rate: what the optimizer sees, after any scaling by batch size."""
    predictor_learning_rate: float | None = Field(None, gt=0)
    """SimSiam's predictor may learn at a rate of its own; null: the same."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`constant` (e2mc's scripts, continued training) or a cosine to zero."""
    warmup_epochs: int = Field(0, ge=0)
    """Linear warm-up from zero before the schedule."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast type of network and base loss; criteria are always computed in float32."""
    compile: bool = False
    """torch.compile the trunk: a minute or more at every start, fewer per epoch on a GPU. Rounding
    differs."""


class VICReg(Strict):
    """VICReg (Bardes et al., 2022), continued as in e2mc `main_vicreg_ent_ft.py`."""

    projector: tuple[int, int, int] = (8192, 8192, 8192)
    """Widths of the three projector layers (official `--mlp 8192-8192-8192`)."""
    invariance: float = 25.0
    """Weight of the invariance term (official default)."""
    variance: float = 25.0
    """Weight of the variance hinge (official default)."""
    covariance: float = 1.0
    """Weight of the covariance term (official default)."""
    views: Views = Views(
        interpolation="bicubic",
        jitter=(0.4, 0.4, 0.2, 0.1),
        blur_probability=(1.0, 0.1),
        solarize_probability=(0.0, 0.2),
    )
    """Asymmetric pair of views (official `augmentations.py`)."""
    optimizer: Optimizer = Optimizer(rule="lars", weight_decay=1e-6)
    """LARS with weight decay 1e-6 (official)."""
    restore_momentum: bool = True
    """Start from the LARS momentum inside the official checkpoint, as e2mc does."""
    continued: Training = Training(learning_rate=0.006, precision="float16")
    """Paper B.1.3: 0.003 = 0.01 x the base rate 0.3; the script scales its argument by
    512 / 256, so 0.003 most likely became 0.006. Undecidable from the release."""
    scratch: Training | None = None
    """Pre-training from random weights, for experiments that make their own base model."""


class SwAV(Strict):
    """SwAV (Caron et al., 2020), continued as in e2mc `main_swav_ent_ft.py`."""

    projector: tuple[int, int] = (2048, 128)
    """Hidden and output width of the projection head."""
    prototypes: int = Field(3000, ge=2)
    """Number of prototypes."""
    temperature: float = Field(0.1, gt=0)
    """Temperature of the softmax over prototypes."""
    epsilon: float = Field(0.05, gt=0)
    """Entropic regularisation of the Sinkhorn assignment."""
    sinkhorn_iterations: int = Field(3, ge=1)
    """Sinkhorn iterations."""
    queue_length: int = Field(3584, ge=0)
    """Rows per view kept for Sinkhorn (e2mc: 7 x 512, from the first step, though the 800-epoch
    model was trained without a queue); 0: none."""
    views: Views = Views(
        scale=(0.14, 1.0),
        small_views=6,
        jitter=(0.8, 0.8, 0.8, 0.2),
        normalization_std=(0.228, 0.224, 0.225),
    )
    """Multi-crop 2x224 + 6x96 (official `multicropdataset.py`)."""
    optimizer: Optimizer = Optimizer(rule="larc", weight_decay=1e-6)
    """LARC(0.001, clip=False) over SGD, all parameters adapted and decayed (official)."""
    continued: Training = Training(learning_rate=0.001, precision="float16")
    """Paper B.1.3: 0.001; e2mc feeds it unscaled."""
    scratch: Training | None = None
    """Pre-training from random weights, for experiments that make their own base model."""


class SimSiam(Strict):
    """SimSiam (Chen and He, 2021), continued as in e2mc `main_simsiam_ent_ft.py`."""

    projector: int = Field(2048, ge=1)
    """Width of the three projector layers."""
    predictor: int = Field(512, ge=1)
    """Hidden width of the predictor."""
    views: Views = Views(scale=(0.2, 1.0), flip="last")
    """Two views of one pipeline (official `main_simsiam.py`)."""
    optimizer: Optimizer = Optimizer(rule="sgd", weight_decay=1e-4)
    """Plain SGD, everything trainable is decayed (official)."""
    continued: Training = Training(learning_rate=0.001, predictor_learning_rate=0.1)
    """Paper B.1.3: 0.001 for the encoder; e2mc leaves the predictor's rate at 0.05 x 512 / 256."""
    scratch: Training | None = None
    """Pre-training from random weights, for experiments that make their own base model."""


class Direct(Strict):
    """An information-theoretic objective that trains a model by itself (`er`, `mi`)."""

    projector: tuple[int, int, int] = (8192, 8192, 8192)
    """Widths of the three projector layers, as VICReg's."""
    views: Views = Views()
    """Views of the images."""
    optimizer: Optimizer = Optimizer(rule="lars", weight_decay=1e-6)
    """Update rule."""
    continued: Training = Training(learning_rate=0.006)
    """Continued pre-training with the objective as base loss."""
    scratch: Training | None = None
    """Pre-training from random weights."""


class Methods(Strict):
    """One recipe per base method."""

    vicreg: VICReg = VICReg()
    """VICReg."""
    swav: SwAV = SwAV()
    """SwAV."""
    simsiam: SimSiam = SimSiam()
    """SimSiam."""
    er: Direct = Direct()
    """Entropy and reconstruction (arXiv 2307.10907) as a method of its own."""
    mi: Direct = Direct()
    """Mutual information from second-order statistics (arXiv 2409.04747) as a method of its own."""
