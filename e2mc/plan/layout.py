"""Where every file of an experiment lies, relative to ``results/<experiment>/``.

Whoever writes, reads or declares a file takes its pattern from here. ``{base}``,
``{criterion}``, ``{trial}`` and ``{protocol}`` are the identities of every run: a method and its
checkpoint, what was added to the loss, the seed of everything random, the evaluation.
"""

from pathlib import Path

RUN = "{base}/{criterion}/trial{trial}"

FETCHED = "data/checkpoints/{name}.pth"
"""Downloaded checkpoints are shared by all experiments: relative to the repository's root."""

EXPERIMENT = "experiment.yaml"
HEAD_LOCK = ".head"
HEAD_FLOCK = ".head.lock"
DATA_READY = "data/prepared.json"
COUNTED = "images.json"
"""How many images `e2mc doctor --benchmark` found, for estimates."""
SCRATCH = "scratch/{base}.pth"
SCRATCH_HISTORY = "scratch/{base}.history.csv"
SCRATCH_METRICS = "scratch/{base}.metrics.json"
CHECKPOINT = "checkpoints/{base}.safetensors"
CHECKPOINT_RECORD = "checkpoints/{base}.json"
MODEL = f"pretrain/{RUN}/model.safetensors"
SNAPSHOT_FILE = "epoch{epoch}.safetensors"
SNAPSHOT = f"pretrain/{RUN}/{SNAPSHOT_FILE}"
"""The trunk after an epoch of a continuation."""
HISTORY = f"pretrain/{RUN}/history.csv"
PRETRAIN_METRICS = f"pretrain/{RUN}/metrics.json"
FEATURES = f"features/{RUN}"
CACHED = f"{FEATURES}/{{dataset}}-{{split}}"
"""The cached features of one split: a folder that is there when it is complete."""
INDEX_FILE = "index.json"
COST_FILE = "{dataset}-{split}.json"
COST = f"{FEATURES}/{COST_FILE}"
"""What their extraction cost; it outlives them."""
EMBEDDINGS = f"{FEATURES}/embeddings.npy"
EMBEDDINGS_RECORD = f"{FEATURES}/embeddings.json"
EVALUATION = f"evaluate/{RUN}"
RESULT = f"{EVALUATION}/{{protocol}}"
METRICS_FILE, PREDICTIONS_FILE, CURVE_FILE = "metrics.json", "predictions.csv", "history.csv"
METRICS = f"{RESULT}/{METRICS_FILE}"
PREDICTIONS = f"{RESULT}/{PREDICTIONS_FILE}"
CURVE = f"{RESULT}/{CURVE_FILE}"
DISTANCES_FILE = "distances.npy"
DISTANCES = f"{EVALUATION}/knn/{DISTANCES_FILE}"
STATISTICS = "statistics/{name}.csv"
TABLE_CSV = "tables/{table}.csv"
TABLE_TEX = "tables/{table}.tex"
FIGURE = "figures/{figure}.{format}"
SUMMARY = "summary.txt"
FRONT_PAGE = "index.html"
"""The whole result as one file."""
PAGE = "report/{page}.html"
"""A table or the overview as it stands in the HTML report."""
SCRATCH_STATE = ".runs/scratch/{base}"
STATE = ".runs/{stage}/{base}/{criterion}/trial{trial}"
LOGS = "logs"
LOG = f"{LOGS}/{{stage}}/{{job}}.log"
JOB = "{base}-{criterion}-trial{trial}"
"""How the log of a job on one model is named."""


def job_folder(log: Path | str) -> Path:
    """What is known of the job with this log while it runs: ``logs`` becomes ``.runs/jobs``."""
    log = Path(log)
    return log.parents[2] / ".runs/jobs" / log.parent.name / log.stem


def cached(dataset: str) -> tuple[str, str]:
    """Patterns of the cached features of both splits of a data set."""
    train, test = (
        CACHED.replace("{dataset}", dataset).replace("{split}", split)
        for split in ("train", "test")
    )
    return train, test


def heartbeat(log: Path | str) -> Path:
    """What is touched while a job with this log runs."""
    return job_folder(log) / "heartbeat"


def results(experiment: str) -> Path:
    """Folder of an experiment's results, relative to the repository's root."""
    return Path("results") / experiment
