"""Snakemake's report: one file with every result, nothing fetched."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from e2mc.plan import layout, needs
from tests.reporting.browser import BROWSER, browse
from tests.reporting.parsed import Parsed
from tests.reporting.synthetic_results import experiment, write_everything

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which everything but the report itself is finished."""
    folder = tmp_path_factory.mktemp("checkout")
    settings = experiment(trials=2)
    results = folder / layout.results(settings.name)
    write_everything(results, settings)
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "own.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return folder


@pytest.fixture(scope="module")
def report(checkout: Path) -> Path:
    command = [sys.executable, "-m", "snakemake", "report", "--configfile", "own.yaml"]
    style = ["--report-stylesheet", "workflow/report/report.css"]
    done = subprocess.run(
        [*command, *style, "--report", "report.html"], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "report.html"


def test_the_report_is_one_file_with_every_result(report: Path) -> None:
    text = report.read_text()
    external = [found for found in Parsed(text).resources if not found.startswith("data:")]
    assert external == []
    assert not re.search(r"@import|url\(\s*['\"]?https?:", text)
    settings = experiment(trials=2)
    embedded = [layout.PAGE.format(page=name) for name in needs.pages(settings)]
    embedded += [layout.TABLE_CSV.format(table=name) for name in needs.tables(settings)]
    embedded += [layout.STATISTICS.format(name=name) for name in needs.STATISTICS_NAMES]
    embedded += [layout.FIGURE.format(figure=f, format="png") for f in needs.figures(settings)]
    script = text.split('<script id="results">')[1].split("</script>")[0]
    results = json.loads(script.strip().removeprefix("var results = ").removesuffix(";"))
    assert {f"results/synthetic/{name}" for name in embedded} <= set(results)
    assert all(result["data_uri"].startswith("data:") for result in results.values())
    assert all(result["caption"] for result in results.values())


PROBE = """setTimeout(() => {
  const path = "results/synthetic/report/table1.html";
  app.setView({content: "html", contentPath: results[path].data_uri, resultPath: path});
  setTimeout(() => {
    const frame = document.querySelector("iframe").getBoundingClientRect();
    parent.postMessage(JSON.stringify({
      width: innerWidth, height: innerHeight, page: document.documentElement.scrollWidth,
      shown: [frame.width, innerHeight - frame.top],
      menu: document.querySelector("nav").innerText,
      bar: document.querySelector("nav h1").nextSibling.scrollWidth,
      fetched: performance.getEntriesByType("resource").map(entry => entry.name),
    }), "*");
  }, 1000);
}, 500);"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_browser_shows_it_without_a_network(
    report: Path, tmp_path: Path, width: int, height: int
) -> None:
    seen = browse(report.read_text(), PROBE, tmp_path, width, height)
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert "Tables" in seen["menu"]
    assert seen["page"] <= seen["width"] == width, "nothing sticks out at the side"
    assert seen["shown"][0] >= (0.95 if width < 640 else 0.6) * width
    assert seen["shown"][1] >= 0.5 * height
