"""Where every file of an experiment lies, relative to ``results/<experiment>/``.

The Snakemake rules and the reporting package both take the patterns from here. ``{base}``,
``{criterion}``, ``{trial}`` and ``{protocol}`` are the identities of every run: a method and its
checkpoint, what was added to the loss, the seed of everything random, the evaluation.
"""

from pathlib import Path

RUN = "{base}/{criterion}/trial{trial}"

FETCHED = "data/checkpoints/{name}.pth"
"""Downloaded checkpoints are shared by all experiments: relative to the repository's root."""

EXPERIMENT = "experiment.yaml"
DATA_READY = "data/prepared.json"
SCRATCH = "scratch/{base}.pth"
SCRATCH_HISTORY = "scratch/{base}.history.csv"
SCRATCH_METRICS = "scratch/{base}.metrics.json"
CHECKPOINT = "checkpoints/{base}.safetensors"
MODEL = f"pretrain/{RUN}/model.safetensors"
HISTORY = f"pretrain/{RUN}/history.csv"
PRETRAIN_METRICS = f"pretrain/{RUN}/metrics.json"
FEATURES = f"features/{RUN}"
IMAGENET_TRAIN = f"{FEATURES}/imagenet-train/index.json"
IMAGENET_TEST = f"{FEATURES}/imagenet-test/index.json"
INAT18_TRAIN = f"{FEATURES}/inat18-train/index.json"
INAT18_TEST = f"{FEATURES}/inat18-test/index.json"
VOC07_TRAIN = f"{FEATURES}/voc07-train/index.json"
VOC07_TEST = f"{FEATURES}/voc07-test/index.json"
INDICES = {
    "imagenet": (IMAGENET_TRAIN, IMAGENET_TEST),
    "inat18": (INAT18_TRAIN, INAT18_TEST),
    "voc07": (VOC07_TRAIN, VOC07_TEST),
}
"""Data set -> what declares the features of its two splits complete."""
EMBEDDINGS = f"{FEATURES}/embeddings.npy"
EVALUATION = f"evaluate/{RUN}"
METRICS = f"{EVALUATION}/{{protocol}}/metrics.json"
PREDICTIONS = f"{EVALUATION}/{{protocol}}/predictions.csv"
CURVE = f"{EVALUATION}/{{protocol}}/history.csv"
DISTANCES = f"{EVALUATION}/knn/distances.npy"
STATISTICS = "statistics/{name}.csv"
TABLE_CSV = "tables/{table}.csv"
TABLE_TEX = "tables/{table}.tex"
FIGURE = "figures/{figure}.{format}"
SUMMARY = "summary.txt"
PAGE = "report/{page}.html"
"""A table or the overview as it stands in the HTML report."""
SCRATCH_STATE = ".runs/scratch/{base}"
STATE = ".runs/{stage}/{base}/{criterion}/trial{trial}"
LOG = "logs/{stage}/{job}.log"
JOB = "{base}-{criterion}-trial{trial}"
"""How the log of a job on one model is named."""


def job_folder(log: Path | str) -> Path:
    """What a cluster knows of the job with this log: ``logs`` becomes ``.runs/jobs``."""
    log = Path(log)
    parts = [".runs/jobs" if part == "logs" else part for part in log.parent.parts]
    return Path(*parts, log.stem)


def results(experiment: str) -> Path:
    """Folder of an experiment's results, relative to the repository's root."""
    return Path("results") / experiment
