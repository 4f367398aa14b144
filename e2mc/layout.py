"""Where every file of an experiment lies, relative to ``results/<experiment>/``.

The Snakemake rules and the reporting room both take the patterns from here. ``{base}``,
``{criterion}``, ``{trial}`` and ``{protocol}`` are the identities of DESIGN: a method and its
checkpoint, what was added to the loss, the seed of everything random, the evaluation.
"""

from pathlib import Path

RUN = "{base}/{criterion}/trial{trial}"

EXPERIMENT = "experiment.yaml"
DATA_READY = "data/prepared.json"
SCRATCH = "scratch/{base}.pth"
CHECKPOINT = "checkpoints/{base}.safetensors"
MODEL = f"pretrain/{RUN}/model.safetensors"
HISTORY = f"pretrain/{RUN}/history.csv"
PRETRAIN_METRICS = f"pretrain/{RUN}/metrics.json"
FEATURES = f"features/{RUN}"
FEATURE_INDEX = f"{FEATURES}/{{dataset}}-{{split}}/index.json"
EMBEDDINGS = f"{FEATURES}/embeddings.npy"
METRICS = f"evaluate/{RUN}/{{protocol}}/metrics.json"
PREDICTIONS = f"evaluate/{RUN}/{{protocol}}/predictions.csv"
CURVE = f"evaluate/{RUN}/{{protocol}}/history.csv"
DISTANCES = f"evaluate/{RUN}/knn/distances.npy"
STATISTICS = "statistics/{name}.csv"
TABLE_CSV = "tables/{table}.csv"
TABLE_TEX = "tables/{table}.tex"
FIGURE = "figures/{figure}.{format}"
STATE = ".runs/{stage}/{base}/{criterion}/trial{trial}"
LOG = "logs/{stage}/{job}.log"


def results(experiment: str) -> Path:
    """Folder of an experiment's results, relative to the repository's root."""
    return Path("results") / experiment
