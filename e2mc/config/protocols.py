"""What models are evaluated on: one record per data set, one per protocol.

Command line, layout, planning, status, cluster, extraction, doctor and reporting iterate over
these records. Nothing heavy is imported: a loader and a protocol's function are named here and
imported where they are called.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.config.fits import Percent
from e2mc.config.settings import Crops, Kind


class Original(NamedTuple):
    """What the published data set holds.

    Attributes:
        classes: number of classes.
        train: training images.
        test: test images.
        labels: sample name of either split -> a class index that it must carry.
        folders: sha256 of the class folders' sorted names, each with a newline; None: any names.
    """

    classes: int
    train: int
    test: int
    labels: Mapping[str, int] = {}
    folders: str | None = None


class Seen(NamedTuple):
    """How an extraction sees a data set; the first kind of features has the plain folder name."""

    train: Crops
    test: Crops
    kinds: tuple[Kind, ...] = ("pooled",)
    normalization_std: tuple[float, float, float] | None = None


class DataSet(NamedTuple):
    """One evaluation data set.

    Attributes:
        name: of its features; its key under `data` (a folder of class folders: under
            `data.transfer`).
        title: as people write it.
        opener: function that reads a split, as `module:name`.
        seen: crops and kinds of features, by the protocols that the experiment has.
        extraction: stage that caches its features.
        original: what the published data set holds; None: it is anybody's.
        remedy: where the data come from.
    """

    name: str
    title: str
    opener: str
    seen: Callable[[Experiment], Seen]
    extraction: str = "extract_transfer"
    original: Original | None = None
    remedy: str = ""


class Protocol(NamedTuple):
    """One way to evaluate a model on a data set.

    Attributes:
        stage: its one name: rule and verb, folder of its logs, key under `evaluation` and in
            slurm/cluster.yaml; `e2mc.evaluation.<stage>` has a function of the same name.
        summary: what it does, in a line.
        title: head of its columns, in LaTeX.
        dataset: name of its data set; None: every folder tree of `data.transfer`.
        variants: what distinguishes the results of one job, as in their folders' names (shares of
            the labels, say); None: there is one result, and it has no such addition.
        cached: works on cached features; else on the model, and can be resumed.
        distributed: its work is divided among processes.
        folder: what its results' folders are called instead of the stage.
        curve: writes history.csv.
        by_method: its recipe depends on the base's method.
        multilabel: several labels per image, scored by mean average precision.
        deterministic: nothing varies between trials of a checkpoint that is not trained further.
        published: its results are columns of the paper's Table 2.
    """

    stage: str
    summary: str
    title: str
    dataset: str | None
    variants: Callable[[Experiment], tuple[str, ...]] | None = None
    cached: bool = True
    distributed: bool = False
    folder: str | None = None
    curve: bool = False
    by_method: bool = False
    multilabel: bool = False
    deterministic: bool = False
    published: bool = False

    def folders(self, experiment: Experiment, dataset: str | None = None) -> tuple[str, ...]:
        """Names of its results: stage or folder tree, and the variant; none without any variant."""
        name = self.folder or self.stage if self.dataset is not None else f"{dataset}"
        if self.variants is None:
            return (name,)
        return tuple(f"{name}-{variant}" for variant in self.variants(experiment))


def online_shares(experiment: Experiment) -> tuple[Percent, ...]:
    """Shares of the labels that see a fresh view in every epoch of every base's linear probe."""
    linear = experiment.evaluation.linear
    fits = [getattr(linear, experiment.recipe(base).fits_of) for base in experiment.bases]
    return tuple(
        percent
        for percent in linear.percents
        if all(linear.views[percent] == fit[percent].epochs for fit in fits)
    )


def cached_shares(experiment: Experiment) -> tuple[Percent, ...]:
    """Shares of the labels whose linear probes go over cached views again and again."""
    online = online_shares(experiment)
    return tuple(one for one in experiment.evaluation.linear.percents if one not in online)


def _see_imagenet(experiment: Experiment) -> Seen:
    """Views for linear probes, and the centre crop for nearest neighbours."""
    views = experiment.evaluation.linear.views
    cached = max((views[percent] for percent in cached_shares(experiment)), default=0)
    return Seen(train=Crops(views=cached), test=Crops())


def _see_inat18(experiment: Experiment) -> Seen:
    options = experiment.evaluation.inat18
    kinds: tuple[Kind, ...] = ("quarters", "pooled") if options.pooled else ("quarters",)
    return Seen(Crops(views=options.views, fixed=None), Crops(), kinds)


def _see_voc07(experiment: Experiment) -> Seen:
    options = experiment.evaluation.voc07
    crops = Crops(fixed="squash" if options.resize == "squash" else "center")
    return Seen(crops, crops, normalization_std=options.normalization_std)


def _see_tree(experiment: Experiment) -> Seen:
    return Seen(Crops(), Crops())


IMAGENET_1K = Original(
    classes=1000,
    train=1_281_167,
    test=50_000,
    labels={
        "val/n01751748/ILSVRC2012_val_00000001.JPEG": 65,
        "val/n09193705/ILSVRC2012_val_00000002.JPEG": 970,
        "val/n02105855/ILSVRC2012_val_00000003.JPEG": 230,
    },
    folders="70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
)
"""ImageNet-1k.

Labels: `val_map.txt` as microsoft/Swin-Transformer prints its head (get_started.md), checked
against the sorted folder names of a real copy, whose hash stands here too.
"""

IMAGENET = DataSet(
    name="imagenet",
    title="ImageNet",
    opener="e2mc.data.imagenet:open_imagenet",
    seen=_see_imagenet,
    extraction="extract_imagenet",
    original=IMAGENET_1K,
    remedy="ImageNet-1k comes from image-net.org after registration: class folders "
    "<root>/train/<wnid> and <root>/val/<wnid>, root as in data.imagenet.root",
)

INAT18 = DataSet(
    name="inat18",
    title="iNat18",
    opener="e2mc.data.inat18:open_inat18",
    seen=_see_inat18,
    original=Original(
        classes=8142,
        train=437_513,
        test=24_426,
        labels={
            "train_val2018/Plantae/7477/3b60c9486db1d2ee875f11a669fbde4a.jpg": 7477,
            "train_val2018/Aves/2820/22c733d9199c35d2578232e3997e3da0.jpg": 2820,
            "train_val2018/Arachnida/19/d17a9a6932315e5a1261659002c60a9f.jpg": 19,
        },
    ),
    remedy="unpack train_val2018.tar.gz, train2018.json.tar.gz and val2018.json.tar.gz of "
    "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/ there, or set data.inat18 to null",
)
"""iNaturalist 2018; labels as in the training lists of the long-tail literature (e.g.
`iNaturalist18_train.txt` of Pepper-lll/NCfeature)."""

VOC07 = DataSet(
    name="voc07",
    title="VOC07",
    opener="e2mc.data.voc07:open_voc07",
    seen=_see_voc07,
    original=Original(
        classes=20,
        train=5011,
        test=4952,
        labels={
            "JPEGImages/000005.jpg": 8,
            "JPEGImages/000007.jpg": 6,
            "JPEGImages/000001.jpg": 11,
        },
    ),
    remedy="unpack VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar of "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ there, or set data.voc07 to null",
)
"""PASCAL VOC 2007: a chair, a car, and in the test set a dog.

Checked against the boxes that several public detectors list for these three images.
"""

DATASETS = {dataset.name: dataset for dataset in (IMAGENET, INAT18, VOC07)}


def dataset_of(name: str) -> DataSet:
    """The record of a data set; any other name is that of a folder tree of `data.transfer`."""
    tree = DataSet(
        name=name,
        title=name,
        opener="e2mc.data.imagenet:open_tree",
        seen=_see_tree,
        remedy=f"class folders <root>/train/<class> and <root>/test/<class> (or <root>/val), root "
        f"as in data.transfer.{name}.root",
    )
    return DATASETS.get(name, tree)


LINEAR = Protocol(
    "linear",
    "Linear probes on cached ImageNet views, one for each share of the labels with fewer views "
    "than epochs.",
    "Linear",
    "imagenet",
    variants=lambda experiment: tuple(map(str, cached_shares(experiment))),
    curve=True,
    by_method=True,
)
LINEAR_ONLINE = Protocol(
    "linear_online",
    "Linear probes on a fresh view in every epoch, of the listed ImageNet images alone.",
    LINEAR.title,
    LINEAR.dataset,
    variants=lambda experiment: tuple(map(str, online_shares(experiment))),
    cached=False,
    folder=LINEAR.stage,
    curve=True,
    by_method=True,
)
SEMISUP = Protocol(
    "semisup",
    "Fine-tune on 1 and 10 per cent of the labels.",
    "Semi-supervised",
    "imagenet",
    variants=lambda experiment: tuple(map(str, experiment.evaluation.semisup.percents)),
    cached=False,
    distributed=True,
    curve=True,
    by_method=True,
)
SNAPSHOTS = Protocol(
    "snapshots",
    "Linear probes of the snapshots of a continued pre-training, for Figure 4.",
    "Snapshots",
    "imagenet",
    cached=False,
    curve=True,
    by_method=True,
)
FEW_SHOT = Protocol(
    "few_shot",
    "Linear probes and nearest neighbours from few images per class of a folder tree.",
    "Few-shot",
    None,
    variants=lambda experiment: tuple(
        f"{classifier}-{shots}"
        for classifier in experiment.evaluation.few_shot.classifiers
        for shots in experiment.evaluation.few_shot.shots
    ),
)
PROTOCOLS = (
    LINEAR,
    LINEAR_ONLINE,
    SEMISUP,
    SNAPSHOTS,
    Protocol(
        "inat18",
        "The linear probe on cached iNat18 maps.",
        INAT18.title,
        "inat18",
        curve=True,
        published=True,
    ),
    Protocol(
        "voc07",
        "One-versus-rest SVMs on cached VOC07 features.",
        VOC07.title,
        "voc07",
        multilabel=True,
        deterministic=True,
        published=True,
    ),
    Protocol("knn", "Nearest neighbours on cached ImageNet features.", "k-NN", "imagenet"),
    FEW_SHOT,
)

EMBEDDINGS = "embeddings"
"""What figures name in the place of a protocol: projections of ImageNet's test images."""


def protocol_of(folder: str, experiment: Experiment | None = None) -> Protocol:
    """The protocol whose result has this name; `FEW_SHOT` if it begins with no stage.

    Both linear protocols have results of one kind; only the experiment tells which of them makes
    a certain one.
    """
    if experiment is not None and folder in LINEAR_ONLINE.folders(experiment):
        return LINEAR_ONLINE
    stage = folder.split("-")[0]
    return next((one for one in PROTOCOLS if one.stage == stage), FEW_SHOT)


def dataset_of_result(folder: str) -> DataSet:
    """The data set that a result, or the embeddings, come from."""
    if folder == EMBEDDINGS:
        return IMAGENET
    return dataset_of(protocol_of(folder).dataset or folder.split("-")[0])


def transfer_datasets(experiment: Experiment) -> tuple[str, ...]:
    """The configured data sets beside ImageNet, whose features one job per model caches."""
    named = (*DATASETS, *experiment.data.transfer)
    return tuple(
        name
        for name in named
        if dataset_of(name).extraction == "extract_transfer" and experiment.data.root(name)
    )
