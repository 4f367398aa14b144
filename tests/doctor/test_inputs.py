import csv
import re
import shutil
import socket
from pathlib import Path

import pytest

from e2mc.config import Experiment, load_experiment
from e2mc.config.evaluation import Subsets
from e2mc.doctor.findings import Finding
from e2mc.doctor.inputs import checkpoints, data_sets
from e2mc.download import registry
from e2mc.download.fetch import fetch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own(demo: Experiment, tmp_path: Path) -> Experiment:
    """The demo with a copy of its ImageNet tree that a test may damage."""
    shutil.copytree(demo.data.imagenet.root, tmp_path / "imagenet")
    imagenet = demo.data.imagenet.model_copy(
        update={
            "root": tmp_path / "imagenet",
            "lists": {n: tmp_path / f"imagenet/{n}percent.txt" for n in (1, 10)},
        }
    )
    data = demo.data.model_copy(
        update={"imagenet": imagenet, "inat18": None, "voc07": None, "transfer": {}}
    )
    return demo.model_copy(update={"data": data})


def errors(findings: list[Finding]) -> list[Finding]:
    wrong = [finding for finding in findings if finding.level == "error"]
    assert all(finding.remedy for finding in wrong)
    return wrong


def test_complete_data_are_counted_and_sampled(demo: Experiment) -> None:
    counts, findings = data_sets(demo, all_images=False)
    assert {finding.level for finding in findings} == {"ok"}
    assert counts is not None
    assert list(counts) == ["imagenet", "inat18", "voc07"]
    for split, size in zip(("train", "val"), counts["imagenet"], strict=True):
        assert size == len(list(demo.data.imagenet.root.glob(f"{split}/*/*")))
    assert ("ok", "imagenet: 34 of 600 images decoded", "") in findings


def test_subsets_that_cannot_be_drawn_are_found_before_anything_is_trained(
    own: Experiment,
) -> None:
    classes = len(list((own.data.imagenet.root / "train").iterdir()))

    def found(**options: object) -> list[Finding]:
        subsets = Subsets.model_validate({"classes": [2], "shots": [1], **options})
        evaluation = own.evaluation.model_copy(update={"subsets": subsets})
        asked = own.model_copy(update={"evaluation": evaluation})
        return errors(data_sets(asked, all_images=False)[1])

    assert found() == []
    assert f"there are {classes} in all" in found(classes=[classes])[0].what
    assert "labelled images, but class" in found(shots=[100_000])[0].what
    assert "nowhere: no class" in found(groups={"one": ["nowhere", "else"]})[0].what


def test_data_that_are_written_first_are_not_missed(own: Experiment) -> None:
    shutil.rmtree(own.data.imagenet.root)
    counts, findings = data_sets(own, all_images=False)
    assert counts is None
    assert [finding.level for finding in findings] == ["ok"]


def test_nothing_there_lists_everything_that_is_missing(own: Experiment, tmp_path: Path) -> None:
    shutil.rmtree(own.data.imagenet.root)
    missing = {"prepare": None, "inat18": tmp_path / "inat18", "voc07": tmp_path / "VOC2007"}
    absent = own.model_copy(update={"data": own.data.model_copy(update=missing)})
    counts, findings = data_sets(absent, all_images=False)
    assert counts is None
    text = " ".join(finding.what for finding in errors(findings))
    for path in ("imagenet/train", "1percent.txt", "10percent.txt", "inat18", "VOC2007"):
        assert path in text


def test_every_broken_image_is_listed_on_request(own: Experiment) -> None:
    pictures = sorted(own.data.imagenet.root.glob("train/*/*"))
    broken = {pictures[1], pictures[-2]}
    for picture in broken:
        picture.write_bytes(picture.read_bytes()[:40])
    assert not errors(data_sets(own, all_images=False)[1])
    found = errors(data_sets(own, all_images=True)[1])
    assert len(found) == 2
    assert all(any(str(picture) in one.what for one in found) for picture in broken)


def test_files_that_are_no_images_by_their_names_are_a_warning(own: Experiment) -> None:
    train = own.data.imagenet.root / "train"
    folder = next(path for path in sorted(train.iterdir()) if path.is_dir())
    for name in ("a.heic", "b.gif"):
        (folder / name).touch()
    counts, findings = data_sets(own, all_images=False)
    assert counts is not None
    (warning,) = [finding for finding in findings if finding.level == "warning"]
    assert f"2 file(s) in the class folders of {train} are left out" in warning.what
    assert "convert" in warning.remedy


def test_a_renamed_class_folder_and_a_missing_list(own: Experiment) -> None:
    root = own.data.imagenet.root
    own.data.imagenet.lists[10].unlink()
    missing = errors(data_sets(own, all_images=False)[1])
    assert f"e2mc fetch label-lists --folder {root}" in missing[0].remedy
    next(root.glob("val/*")).rename(root / "val" / "renamed")
    assert any("different class folders: " in one.what for one in errors(data_sets(own, False)[1]))


def test_at_full_scale_the_originals_are_expected(own: Experiment) -> None:
    full = own.model_copy(update={"comparable": True})
    wrong = [one.what for one in errors(data_sets(full, all_images=False)[1])]
    for expected in ("expected 1,281,167 of 1,000", "expected 50,000 of 1,000", "1percent.txt"):
        assert any(expected in what for what in wrong)
    held_out = full.data.model_copy(update={"evaluate_on": "validation"})
    part = full.model_copy(update={"data": held_out})
    assert not errors(data_sets(part, all_images=False)[1])


def _registry(folder: Path, url: object) -> None:
    (folder / "config").mkdir()
    with (folder / registry.REGISTRY).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "kind", "method", "epochs", "url"))
        writer.writerow(("swav-800", "checkpoint", "swav", 800, url))


def _with_checkpoint(demo: Experiment, checkpoint: str) -> Experiment:
    base = demo.bases["swav-30"].model_copy(update={"checkpoint": checkpoint, "epochs": 800})
    return demo.model_copy(update={"bases": {"swav": base}})


def test_checkpoints_of_every_kind(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "published.pth"
    weights.write_bytes(b"PK" * 500)
    _registry(tmp_path, weights)
    expected = {
        "swav-800": ("ok", "will be fetched, 1.0 kB"),
        str(weights): ("ok", f"checkpoint {weights}"),
        "absent.pth": ("error", "there is no checkpoint absent.pth"),
        "swav-80": ("error", "did you mean swav-800"),
    }
    for checkpoint, (level, what) in expected.items():
        (finding,) = checkpoints(_with_checkpoint(demo, checkpoint))
        assert (finding.level, what in finding.what) == (level, True)
        assert bool(finding.remedy) == (level == "error")
    assert {finding.level for finding in checkpoints(demo)} == {"ok"}


def test_a_checkpoint_of_another_method_is_found_out(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "published.pth"
    weights.write_bytes(b"PK")
    _registry(tmp_path, weights)
    base = demo.bases["vicreg-30"].model_copy(update={"checkpoint": "swav-800"})
    found = list(checkpoints(demo.model_copy(update={"bases": {"vicreg": base}})))
    assert [finding.level for finding in found] == ["error", "ok"]
    assert "swav-800 is swav after 800 epochs" in found[0].what


def test_a_fetched_checkpoint_is_held_to_its_pinned_length(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "published.pth"
    weights.write_bytes(b"PK" * 500)
    _registry(tmp_path, weights)
    path = fetch(registry.find_checkpoint("swav-800"), "data/checkpoints", Path.read_bytes)
    experiment = _with_checkpoint(demo, "swav-800")
    assert [finding.level for finding in checkpoints(experiment)] == ["ok"]
    path.write_bytes(b"PK")
    (finding,) = checkpoints(experiment)
    assert finding.level == "error"
    assert "has 2 bytes, 1000 are pinned" in finding.what


def test_a_checkpoint_out_of_reach_says_where_to_place_it(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/weights"
    _registry(tmp_path, url)
    (finding,) = checkpoints(_with_checkpoint(demo, "swav-800"))
    assert re.search(f"cannot be fetched from here: {url}: .*refused", finding.what)
    assert finding.remedy.endswith(str(tmp_path / "data/checkpoints/swav-800.pth"))


def test_the_paper_names_checkpoints_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = load_experiment(ROOT / "config/paper.yaml")
    known = registry.load_registry(ROOT / registry.REGISTRY)
    for base in paper.bases.values():
        assert base.checkpoint is not None
        assert known[base.checkpoint].kind == "checkpoint"
        assert known[base.checkpoint].method == base.method
        assert known[base.checkpoint].epochs == base.epochs
