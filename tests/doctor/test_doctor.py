from pathlib import Path

import pytest

from e2mc import doctor
from e2mc.config import Experiment
from e2mc.doctor import Finding, report, run
from e2mc.doctor.findings import Level


def test_the_report_is_aligned_and_counts() -> None:
    long = " ".join(["word"] * 40)
    text = report(
        [Finding("ok", "fine"), Finding("warning", long, "mend it"), Finding("error", "no")]
    )
    lines = text.splitlines()
    assert lines[0] == "ok       fine"
    assert lines[1].startswith("warning  word")
    assert lines[2].startswith("         word")
    assert max(map(len, lines)) <= 100
    assert "         -> mend it" in lines
    assert lines[-1] == "1 error, 1 warning"


@pytest.mark.parametrize(("level", "status"), [("ok", 0), ("warning", 0), ("error", 1)])
def test_only_an_error_is_a_failure(
    demo: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    level: Level,
    status: int,
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda experiment, all_images: [Finding(level, "it")])
    assert run(demo) == status
    assert capsys.readouterr().out.startswith("demo: 52 training runs")


def test_the_demo_is_ready_to_run(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    findings = doctor.examine(demo)
    assert not [finding for finding in findings if finding.level == "error"]
    assert len(findings) >= 14
