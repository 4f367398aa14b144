"""The command line turns every mistake into one message and exit status 1."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2mc.cli import main

PATHS = ("--train", "a", "--test", "b", "--output", "c")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the demo's data and configuration."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    main(["prepare", "--output", "results/demo/data/prepared.json"])
    return tmp_path


def refused(*arguments: Any) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, str), "a message, hence exit status 1"
    return stopped.value.code


def edit(folder: Path, *keys: str, value: object) -> None:
    file = folder / "config/demo.yaml"
    content = yaml.safe_load(file.read_text())
    section = content
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def scratch(folder: Path) -> list[Path | str]:
    out = folder / "out"
    return [
        *("pretrain", "--base", "vicreg-30", "--output", out / "model.pth"),
        *("--history", out / "history.csv", "--metrics", out / "metrics.json"),
        *("--state", out / "state"),
    ]


def test_columns_of_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("id\ty\tpred\n1\ta\ta\n2\tb\ta\n")
    files = ["compare", str(file), str(file)]
    main([*files, "--json", "--columns", "sample=id,label=y,prediction=pred"])
    assert '"base_accuracy": 0.5' in capsys.readouterr().out
    for wrong in ("id", "sample=id,label", "image=id"):
        with pytest.raises(SystemExit):
            main(["compare", str(file), str(file), "--columns", wrong])
        assert "should read sample=NAME" in capsys.readouterr().err


def test_an_unknown_verb_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrian"])
    assert "pretrain" in capsys.readouterr().err


def test_the_command_is_installed_and_python_m_is_the_same() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "e2mc", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for verb in (
        *("prepare-demo", "fetch", "import-checkpoint", "pretrain", "extract", "linear"),
        *("semisup", "svm", "knn", "compare", "table", "figure", "doctor", "status"),
    ):
        assert verb in shown


@pytest.mark.parametrize(
    ("older", "verb"),
    [
        (("prepare-demo", "--output", "x"), "prepare"),
        (("svm", *PATHS), "voc07"),
        (("linear", "--protocol", "inat18", "--base", "swav-30", *PATHS), "inat18"),
    ],
)
def test_older_names_of_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: tuple[str, ...], verb: str
) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr("e2mc.data.prepare.prepare", lambda data: called.append(("prepare",)) or {})
    for stage in ("voc07", "inat18"):
        function = f"e2mc.evaluation.{stage}.{stage}"
        monkeypatch.setattr(function, lambda *given, stage=stage: called.append((stage, *given)))
    main(list(older))
    ((name, *given),) = called
    assert name == verb
    assert given[1:] == ([] if verb == "prepare" else [Path("a"), Path("b"), Path("c")])


def test_a_misspelt_key_names_the_nearest_one(demo: Path) -> None:
    edit(demo, "methods", "vicreg", "projectr", value=[8, 8, 8])
    assert "did you mean 'projector'?" in refused(*scratch(demo))


def test_bases_criteria_and_trials_that_do_not_exist_are_named(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = [*scratch(demo)]
    unknown[2] = "vicreg-99"
    assert "no base 'vicreg-99'; bases: vicreg-30" in refused(*unknown)
    start = ("--start", demo / "none.safetensors")
    message = refused(*scratch(demo), "--criterion", "e2mmc", *start)
    assert "no criterion 'e2mmc' for vicreg" in message
    assert "--start" in refused(*scratch(demo), "--criterion", "e2mc")
    assert "as it is" in refused(*scratch(demo), "--criterion", "base", *start)
    assert "none.safetensors" in refused(*scratch(demo), "--criterion", "e2mc", *start)
    for wrong in ("-1", "x", "1e9", "99999"):
        with pytest.raises(SystemExit):
            main([*map(str, scratch(demo)), "--trial", wrong])
        assert "--trial" in capsys.readouterr().err
    assert "vicreg-99" in refused("linear", "--base", "vicreg-99", *PATHS)
    assert "cannot read" in refused("linear", "--base", "vicreg-30", "--train", demo, *PATHS[2:])


def test_an_empty_class_folder_is_named(demo: Path) -> None:
    (folder,) = (demo / "results/demo/data/imagenet/train").glob("*3")
    shutil.rmtree(folder)
    folder.mkdir()
    message = refused(*scratch(demo))
    assert str(folder.relative_to(demo)) in message
    assert not list((demo / "out").glob("*.pth"))


def test_a_truncated_image_is_named(demo: Path) -> None:
    image = next((demo / "results/demo/data/imagenet/train").glob("*5/*"))
    image.write_bytes(image.read_bytes()[:200])
    message = refused(*scratch(demo))
    assert image.name in message
    assert not list((demo / "out").glob("*.pth"))


def test_a_results_folder_that_cannot_be_written_is_explained(demo: Path) -> None:
    (demo / "out").write_text("a file in the way")
    assert "out" in refused(*scratch(demo))


def test_a_missing_data_set_says_where_it_was_looked_for(demo: Path) -> None:
    shutil.rmtree(demo / "results/demo/data/imagenet")
    assert "results/demo/data/imagenet" in refused(*scratch(demo))


def test_an_unfinished_table_is_honestly_empty(demo: Path) -> None:
    main(["table", "table1", "--csv", "table1.csv", "--tex", "table1.tex"])
    assert "trial 0 missing" in (demo / "table1.csv").read_text()


def test_a_checkpoint_placed_by_hand_is_held_to_its_hash(demo: Path) -> None:
    edit(demo, "bases", "vicreg-30", "checkpoint", value="vicreg-1000")
    registry = demo / "config/downloads.csv"
    lines = registry.read_text().splitlines()
    fields = lines[1].split(",")
    fields[lines[0].split(",").index("sha256")] = "0" * 64
    fields[lines[0].split(",").index("url")] = str(demo / "nowhere.pth")
    registry.write_text("\n".join([lines[0], ",".join(fields)]) + "\n")
    placed = demo / "data/checkpoints/vicreg-1000.pth"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(b"not the published weights")
    message = refused(
        *("import-checkpoint", "--base", "vicreg-30", "--source", placed),
        *("--output", demo / "vicreg.safetensors"),
    )
    assert "sha256" in message
    assert not (demo / "vicreg.safetensors").exists()
