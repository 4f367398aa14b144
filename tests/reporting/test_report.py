"""The HTML report: one file, nothing fetched, and from every number a way to its evaluations."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.plan import layout, needs
from e2mc.provenance import duration, provenance
from e2mc.reporting.page import Group, Page, Row, Section, Shown, plain, render
from e2mc.reporting.pages import write_page
from e2mc.reporting.significance import write_statistics
from e2mc.reporting.summary import summary
from e2mc.reporting.tables import write_table
from tests.reporting.synthetic_results import all_cells, experiment, percent, write_results

ROOT = Path(__file__).parents[2]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Parsed(HTMLParser):
    """Anchors, links and resources of a page, and its cells with the link of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.resources += [found[key] or "" for key in ("src", "srcset", "data") if key in found]
        self.resources += [found["href"] or ""] if tag in ("link", "base", "use", "image") else []
        if tag == "td":
            self.cells.append(("", ""))
        if tag == "a" and self.cells:
            self.cells[-1] = ("", found["href"] or "")

    def handle_data(self, data: str) -> None:
        if self.cells:
            text, link = self.cells[-1]
            self.cells[-1] = (text + data.strip(), link)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which everything but the report itself is finished."""
    folder = tmp_path_factory.mktemp("checkout")
    settings = experiment(trials=2)
    results = folder / layout.results(settings.name)
    write_results(results, all_cells(settings))
    metrics = results / layout.METRICS.format(
        base="swav-60", criterion="e2mc", trial=1, protocol="linear-1"
    )
    recorded = json.loads(metrics.read_text()) | {"provenance": provenance({"a": 1}, {})}
    metrics.write_text(json.dumps(recorded))
    for file in needs.trainings(settings):
        cost = {"seconds": 1800.0, "gpus": 4, "gpu_hours": 2.0, "restarts": 1}
        write_text(results / file, json.dumps({"cost": cost}))
    for table in (*needs.tables(settings), "reproduction"):
        csv, tex = (
            results / name.format(table=table) for name in (layout.TABLE_CSV, layout.TABLE_TEX)
        )
        write_table(settings, results, table, csv, tex)
    write_statistics(settings, results)
    write_text(results / layout.SUMMARY, summary(settings, results))
    for page in needs.pages(settings):
        write_page(settings, results, page, results / layout.PAGE.format(page=page))
    for name in needs.figures(settings):
        for suffix in needs.FIGURE_FORMATS:
            file = results / layout.FIGURE.format(figure=name, format=suffix)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(PIXEL)
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "own.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return folder


def page(checkout: Path, name: str) -> str:
    return (checkout / "results/synthetic" / layout.PAGE.format(page=name)).read_text()


def test_every_number_of_a_table_leads_to_its_trials(checkout: Path) -> None:
    text = page(checkout, "table1")
    found = Parsed(text)
    cells = needs.table_inputs(experiment(trials=2), "table1")
    numbers = [link for content, link in found.cells if "±" in content]
    assert len(numbers) == len({cell[:2] + cell[3:] for cell in cells})
    assert all(link.removeprefix("#") in found.anchors for link in numbers)
    group = text.split('id="evaluate/swav-60/e2mc/trial*/linear-1"')[1].split("</tbody>")[0]
    for cell in cells:
        if cell[:2] == ("swav-60", "e2mc") and cell.protocol == "linear-1":
            assert layout.METRICS.format(**cell._asdict()) in group
            assert f"{percent(cell):.2f} %" in group


@pytest.mark.parametrize("name", needs.pages(experiment()))
def test_pages_need_nothing_but_themselves(checkout: Path, name: str) -> None:
    text = page(checkout, name)
    found = Parsed(text)
    assert found.resources == []
    assert all(link.removeprefix("#") in found.anchors for link in found.links)
    assert len(found.anchors) == len(set(found.anchors))
    assert not re.search(r"https?://|url\(|@import", text)
    body = unescape(re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", text, flags=re.DOTALL))
    assert not re.search(r"\\|\$|\bnan\b|>None<", body), "no LaTeX and no missing value is left"


@pytest.mark.parametrize("name", [*needs.tables(experiment()), "significance", "trials"])
def test_no_number_is_without_a_link(checkout: Path, name: str) -> None:
    results = page(checkout, name).split("<h2>Evaluations</h2>")[0]
    values = [cell for cell in Parsed(results).cells if re.match(r"[+−]?\d+\.\d\d", cell[0])]
    assert values
    assert [text for text, link in values if not link] == []


def test_a_test_over_images_leads_to_the_one_model_that_was_tested(checkout: Path) -> None:
    links = [link for _, link in Parsed(page(checkout, "table_d1")).cells]
    assert any(re.fullmatch(r"#evaluate/vicreg-60/e2mc/trial\d/linear-1", link) for link in links)
    assert "#evaluate/vicreg-60/e2mc/trial*/linear-1" in links


def test_the_overview_has_cost_verdicts_provenance_and_configuration(checkout: Path) -> None:
    text = page(checkout, "overview")
    cells = [content for content, _ in Parsed(text).cells]
    jobs = len(needs.trainings(experiment(trials=2))) - 3
    stage = cells.index("pretrain")
    hours = f"{jobs * 2}.00", duration(jobs * 1800), str(jobs)
    assert cells[stage : stage + 5] == ["pretrain", str(jobs), *hours]
    assert cells.index("not comparable at this scale")
    assert "torch" in text, "the packages of the one evaluation with a provenance"
    assert "entropy_weight: 0.01" in text


def test_a_base_that_the_paper_does_not_have(tmp_path: Path) -> None:
    bases = {"own": {"method": "vicreg", "epochs": 5}}
    settings = experiment(trials=2, bases=bases, tables={"table_d1": "own"})
    write_results(tmp_path, needs.table_inputs(settings, "table_d1"))
    for name in ("table1", "table_d1"):
        csv, tex, html = (tmp_path / f"tables/{name}.{kind}" for kind in ("csv", "tex", "html"))
        write_table(settings, tmp_path, name, csv, tex)
        write_page(settings, tmp_path, name, html)
        text = html.read_text()
        assert "Evaluations" in text
        assert "<small>paper" not in text
        assert "not evaluated" in text or name == "table_d1"


def test_a_page_that_the_experiment_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="no page 'table9'; pages: table1"):
        write_page(experiment(), tmp_path, "table9", tmp_path / "page.html")


@pytest.mark.parametrize("name", ["table1", "significance", "overview"])
def test_a_page_before_what_it_shows(tmp_path: Path, name: str) -> None:
    with pytest.raises(E2MCError, match=r"does not exist: write it before its page"):
        write_page(experiment(), tmp_path, name, tmp_path / "page.html")


def test_text_is_escaped_and_a_link_to_nothing_is_no_link() -> None:
    cells = [Shown("<b>", "here"), Shown("gone", "nowhere")]
    text = render(Page("a & b", [], [Section(groups=[Group([Row(cells, "here")])])]))
    assert "a &amp; b" in text
    assert Parsed(text).links == ["#here"]
    assert "<b>" not in text


def test_captions_lose_their_latex() -> None:
    assert plain(r"E$^2$MC $-0.93$ $\pm$ 3.64 with 1\,\% (\texttt{own\_name}), $|z|\le3$") == (
        "E²MC −0.93 ± 3.64 with 1 % (own_name), |z| ≤ 3"
    )


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


FRAME = """<!doctype html><title>waiting</title>
<style>body { margin: 0 }</style>
<iframe src="report.html" style="border: 0; width: %dpx; height: %dpx"></iframe>
<script>onmessage = event => { document.title = event.data }</script>"""
"""A window of that size: a browser's own window has a least width, beyond that of a phone."""

PROBE = """<script>setTimeout(() => {
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
}, 500);</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_browser_shows_it_without_a_network(
    report: Path, tmp_path: Path, width: int, height: int
) -> None:
    head, _, tail = report.read_text().rpartition("</body>")
    (tmp_path / "report.html").write_text(f"{head}{PROBE}</body>{tail}")
    window = tmp_path / "window.html"
    window.write_text(FRAME % (width, height))
    options = ["--headless", "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"]
    browsed = subprocess.run(
        [str(BROWSER), *options, "--window-size=1300,1000", "--dump-dom", window.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    title = re.search(r"<title>(\{.*?\})</title>", browsed.stdout)
    assert title, browsed.stderr
    seen = json.loads(unescape(title[1]))
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert "Tables" in seen["menu"]
    assert seen["page"] <= seen["width"] == width, "nothing sticks out at the side"
    assert seen["shown"][0] >= (0.95 if width < 640 else 0.6) * width
    assert seen["shown"][1] >= 0.5 * height
