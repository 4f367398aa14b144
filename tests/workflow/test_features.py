"""Cached features come and go: when they are deleted, and how many lie on disk at a time."""

import re
from collections import Counter
from pathlib import Path

import pytest

from e2mc.plan.jobs import EXTRACTIONS, FEATURES_AT_ONCE
from tests.small_experiment import checkout, small_experiment
from tests.workflow.test_dag import edit, planned, run_with_stand_in, snakemake


def experiment(**changes: object) -> dict[str, object]:
    content = small_experiment()
    evaluation = content["evaluation"]
    assert isinstance(evaluation, dict)
    evaluation |= changes
    return content


@pytest.fixture(scope="module")
def tidied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which everything was run, and features were deleted when they were done."""
    return run_with_stand_in(checkout(tmp_path_factory.mktemp("tidied"), experiment()))


def cached(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("results/demo/features/*/*/*/*-t*")]


def test_features_are_deleted_when_all_that_reads_them_is_done(tidied: Path) -> None:
    screen = (tidied / "screen.txt").read_text()
    removed = re.findall(r"Removing temporary output (\S+)\.\n", screen)
    assert {Path(path).name for path in removed} == {
        f"{dataset}-{split}"
        for dataset in ("imagenet", "inat18", "voc07", "inverted")
        for split in ("train", "test")
    }
    assert cached(tidied) == []
    assert list(tidied.glob("results/demo/features/*/*/*/embeddings.npy")), "figures read them"


def test_a_finished_evaluation_never_asks_for_features(tidied: Path) -> None:
    assert planned(tidied, "all") == Counter()
    table = tidied / "results/demo/tables/table1.csv"
    content = table.read_bytes()
    table.unlink()
    assert planned(tidied, "table1") == Counter({"table": 1, "table1": 1})
    table.write_bytes(content)


def test_a_changed_protocol_extracts_again_what_it_reads(tidied: Path) -> None:
    before = (tidied / "config/demo.yaml").read_text()
    edit(tidied, "evaluation", "knn", "temperature", value=0.1)
    jobs = planned(tidied, "all")
    (tidied / "config/demo.yaml").write_text(before)
    assert {"extract_imagenet", "knn"} <= set(jobs)
    assert not {"pretrain", "extract_transfer", "linear_online", "semisup", "inat18"} & set(jobs)


def test_kept_features_stay(tmp_path: Path) -> None:
    folder = checkout(tmp_path, experiment(keep_features=True))
    assert "temporary" not in snakemake(folder, "-n", "all").stdout


def test_no_more_sets_of_features_are_needed_at_a_time_than_there_are_slots(
    tmp_path: Path,
) -> None:
    """An extraction begins only while every other set that is needed has a job at work.

    Each extraction and each protocol on cached features takes a slot, and a protocol goes before
    an extraction. So when an extraction begins, no protocol is ready and waiting: of each set that
    is not deleted yet, the extraction or a protocol holds one of the other slots.
    """
    folder = checkout(tmp_path, experiment())
    script = tmp_path / "resources.smk"
    script.write_text(
        'include: "Snakefile"\n'
        "for rule in workflow.rules:\n"
        "    slots = int('features' in rule.resources)\n"
        "    reads = any('/features/' in one and '-t' in one for one in map(str, rule.input))\n"
        "    print('RULE', rule.name, slots, rule.priority, reads)\n"
        "print('LIMIT', workflow.global_resources['features'])\n"
    )
    done = snakemake(folder, "-n", "--snakefile", str(script), "all")
    rules = re.findall(r"^RULE (\w+) (\d) (\d) (True|False)$", done.stdout, re.MULTILINE)
    assert rules, done.stdout + done.stderr
    for name, slots, priority, reads in rules:
        assert int(slots) == (name in EXTRACTIONS or reads == "True"), name
        assert int(priority) == (reads == "True"), name
    assert re.search(rf"^LIMIT .*{FEATURES_AT_ONCE}", done.stdout, re.MULTILINE)
