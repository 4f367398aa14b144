"""What fine-tuning, and extraction on the same data, will not do."""

import shutil
from pathlib import Path

import pytest

from e2mc.config.experiment import Images
from e2mc.config.methods import VICReg
from e2mc.config.settings import Crops, DataSetSettings, ExtractSettings, OnGPU
from e2mc.errors import E2MCError
from e2mc.evaluation import fine_tuning
from e2mc.evaluation.features import extract
from e2mc.evaluation.semisup import semisup
from e2mc.methods import build_method
from e2mc.models import save_model
from e2mc.training.distributed import Place
from e2mc.training.resumable import States, session
from e2mc.training.state import run_lock
from tests.evaluation.tiny_semisup import BACKBONE, STD, settings, write_data


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("imagenet"))


def test_another_number_of_processes_is_refused_unless_asked_for(
    root, tmp_path, monkeypatch, capsys
):
    chosen, model = settings(root), root / "model.safetensors"
    pair = fine_tuning.build(chosen, 1, model, 2, Place(0, 2, 0))
    alone = fine_tuning.build(chosen, 1, model, 2, Place(0, 1, 0))
    with session(tmp_path, OnGPU()) as here:
        states = States(tmp_path / "1", here)
        pair.step = 3
        states.between_steps(pair, last=3)
        with pytest.raises(E2MCError, match=r"saved by 2 process\(es\), this run has 1.*delete"):
            states.resume(alone)
        assert alone.step == 0
        monkeypatch.setenv("E2MC_ANY_PROCESSES", "1")
        states.resume(alone)
    assert (alone.step, alone.processes) == (3, [2, 1])
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["train/n01/n01_2.JPEG", "val/n02/n02_4.JPEG"])
def test_a_corrupt_image_is_named_and_nothing_is_written(root, tmp_path, bad):
    folder = Path(shutil.copytree(root, tmp_path / "images"))
    (folder / bad).write_bytes((folder / bad).read_bytes()[:100])
    with pytest.raises(E2MCError, match=f"cannot decode image .*{bad}"):
        semisup(settings(folder), root / "model.safetensors", tmp_path / "out", tmp_path / "state")
    assert not (tmp_path / "out").exists()


def test_a_second_fine_tuning_on_one_run_directory_is_refused(root, tmp_path):
    with run_lock(tmp_path / "state"), pytest.raises(E2MCError, match="in use by process"):
        semisup(settings(root), root / "model.safetensors", tmp_path / "out", tmp_path / "state")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pipeline", ["pillow", "tensor"])
def test_extraction_names_a_corrupt_image_and_declares_no_features(root, tmp_path, pipeline):
    """Training can be told to skip it; a feature that is not the image's is never written."""
    folder = Path(shutil.copytree(root, tmp_path / "images"))
    bad = folder / "train/n02/n02_3.JPEG"
    bad.write_bytes(bad.read_bytes()[:100])
    recipe = VICReg(projector=(4, 4, 4))
    save_model(build_method(recipe, BACKBONE).state_dict(), tmp_path / "model", {})
    seen = DataSetSettings(data=settings(folder).data, train=Crops(views=1), test=Crops())
    chosen = ExtractSettings(
        recipe=recipe,
        backbone=BACKBONE,
        images=Images(size=12, evaluation_resize=14),
        datasets={"imagenet": seen},
        normalization_std=STD,
        pipeline=pipeline,
        precision="float32",
        flip_probability=0.5,
        batch_size=5,
        embedding_samples=4,
        workers=0,
        seed=0,
    )
    with pytest.raises(E2MCError, match=r"cannot decode image .*train/n02/n02_3\.JPEG"):
        extract(chosen, tmp_path / "model", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("index.json"))
