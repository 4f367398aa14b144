import csv
import re
import shutil
import socket
from pathlib import Path

import pytest

from e2mc import checkpoints as registry
from e2mc.config import Experiment, load_experiment
from e2mc.doctor.findings import Finding
from e2mc.doctor.inputs import checkpoints, data_sets

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
    data = demo.data.model_copy(update={"imagenet": imagenet, "inat18": None, "voc07": None})
    return demo.model_copy(update={"data": data})


def errors(findings: list[Finding]) -> list[Finding]:
    wrong = [finding for finding in findings if finding.level == "error"]
    assert all(finding.remedy for finding in wrong)
    return wrong


def test_complete_data_are_counted_and_sampled(demo: Experiment) -> None:
    counts, findings = data_sets(demo, all_images=False)
    assert {finding.level for finding in findings} == {"ok"}
    assert counts is not None
    for dataset, sizes in counts.items():
        for split, size in zip(("train", "test"), sizes, strict=True):
            assert any(
                one.what.startswith(f"{dataset} {split}: {size:,} images") for one in findings
            )
    pictures = list(demo.data.imagenet.root.glob("train/*/*"))
    assert counts["imagenet"][0] == len(pictures)


def test_data_that_are_written_first_are_not_missed(own: Experiment) -> None:
    shutil.rmtree(own.data.imagenet.root)
    counts, findings = data_sets(own, all_images=False)
    assert counts is None
    assert [finding.level for finding in findings] == ["ok"]
    absent = own.model_copy(update={"data": own.data.model_copy(update={"prepare": None})})
    assert len(errors(data_sets(absent, all_images=False)[1])) == 3


def test_every_broken_image_is_listed_on_request(own: Experiment) -> None:
    pictures = sorted(own.data.imagenet.root.glob("train/*/*"))
    broken = [pictures[1], pictures[-2]]
    for picture in broken:
        picture.write_bytes(picture.read_bytes()[:40])
    assert not errors(data_sets(own, all_images=False)[1])
    (found,) = errors(data_sets(own, all_images=True)[1])
    assert f"2 of {len(pictures):,} cannot be decoded: {broken[0]}, {broken[1]}" in found.what


def test_a_renamed_class_folder_and_a_missing_list(own: Experiment) -> None:
    root = own.data.imagenet.root
    own.data.imagenet.lists[10].unlink()
    (missing,) = errors(data_sets(own, all_images=False)[1])
    assert f"e2mc fetch label-lists --folder {root}" in missing.remedy
    next(root.glob("val/*")).rename(root / "val" / "renamed")
    assert any("different class folders: " in one.what for one in errors(data_sets(own, False)[1]))


def test_at_full_scale_counts_must_be_those_of_the_originals(own: Experiment) -> None:
    full = own.model_copy(update={"comparable": True})
    _, findings = data_sets(full, all_images=False)
    wrong = errors(findings)
    assert ["1,281,167" in wrong[0].what, "50,000" in wrong[-1].what] == [True, True]
    warnings = [one.what for one in findings if one.level == "warning"]
    assert len(warnings) == 2
    assert all("not the list that the paper used" in what for what in warnings)


def _registry(folder: Path, url: object) -> None:
    (folder / "config").mkdir()
    with (folder / registry.REGISTRY).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "method", "epochs", "batch_size", "url", "container"))
        writer.writerow(("swav-800", "swav", 800, 4096, url, "flat"))


def _with_checkpoint(demo: Experiment, checkpoint: str) -> Experiment:
    base = demo.bases["swav-60"].model_copy(update={"checkpoint": checkpoint})
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


def test_a_fetched_checkpoint_is_held_to_its_pinned_length(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "published.pth"
    weights.write_bytes(b"PK" * 500)
    _registry(tmp_path, weights)
    path = registry.fetch("swav-800", "data/checkpoints")
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
        assert known[base.checkpoint].method == base.method
        assert known[base.checkpoint].epochs == base.epochs
