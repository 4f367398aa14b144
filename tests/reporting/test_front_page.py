"""The one file that a reader opens: complete in itself, every number leads to its evaluations."""

import re
import shutil
from html import unescape
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest

from e2mc.errors import E2MCError
from e2mc.plan import layout, needs
from e2mc.reporting.findings import Finding
from e2mc.reporting.front_page import answer, question, write_front_page
from e2mc.reporting.names import FIGURES
from tests.reporting.browser import BROWSER, browse
from tests.reporting.parsed import Parsed
from tests.reporting.synthetic_results import experiment

SETTINGS = experiment(trials=2)


@pytest.fixture(scope="module")
def results(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished experiment in which one evaluation has a curve."""
    folder = tmp_path_factory.mktemp("front") / "results"
    shutil.copytree(finished, folder)
    curve = layout.CURVE.format(base="swav-60", criterion="e2mc", trial=0, protocol="linear-1")
    (folder / curve).write_text("epoch,top1\n1,20\n2,60\n3,50\n")
    write_front_page(SETTINGS, folder, folder / layout.FRONT_PAGE)
    return folder


@pytest.fixture(scope="module")
def text(results: Path) -> str:
    return (results / layout.FRONT_PAGE).read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Parsed:
    return Parsed(text)


def test_every_link_leads_to_a_place_or_a_file(results: Path, page: Parsed) -> None:
    assert len(page.anchors) == len(set(page.anchors))
    for link in page.links:
        if link.startswith("#"):
            assert link.removeprefix("#") in page.anchors
        else:
            assert (results / unquote(link)).is_file()


def test_it_needs_neither_network_nor_script(text: str, page: Parsed) -> None:
    assert page.resources
    assert all(resource.startswith("data:image/png") for resource in page.resources)
    assert not page.all("script") and not page.all("link")
    assert not re.search(r"https?://|url\(|@import|\son\w+=", re.sub("<pre>.*?</pre>", "", text))
    body = unescape(re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", text, flags=re.DOTALL))
    assert not re.search(r"\\|\$|\bnan\b|>None<", body), "no LaTeX and no missing value is left"


def test_the_first_screen_comes_first(text: str) -> None:
    order = ["The question", "The answer", "Yes, E²MC", '<table class="forest"', 'id="table1"']
    order += ["<nav", "Table 2", "Figure 2", "Paired tests over the test images", "Verdicts"]
    order += ["Cost by stage", "What made the results", "Configuration", "Evaluations"]
    places = [text.index(f">{what}" if what[0] not in "<i" else what) for what in order[:2]]
    for what in order[2:]:
        places.append(text.index(what, places[-1]))
    assert places == sorted(places)


def test_every_table_figure_and_test_is_there_and_listed(page: Parsed) -> None:
    names = [*needs.tables(SETTINGS), *needs.figures(SETTINGS), *needs.STATISTICS_NAMES]
    assert {f"section-{name}" for name in names[1:]} | {"table1"} <= set(page.anchors)
    sections = [anchor for anchor in page.anchors if anchor.startswith("section-")]
    listed = [link for link in page.links if link.startswith("#section-")]
    assert listed == [f"#{anchor}" for anchor in sections]


def test_every_number_leads_to_its_evaluations(text: str) -> None:
    numbers = Parsed(text.split('id="section-evaluations"')[0]).cells
    estimates = [(shown, link) for shown, link in numbers if "±" in shown]
    published = {shown for shown, link in estimates if not link}
    computed = [link for _, link in estimates if link]
    assert computed and all(link.startswith("#evaluate/") for link in computed)
    table1 = text.split('id="table1"')[1].split("</table>")[0]
    assert all(link for shown, link in Parsed(table1).cells if "±" in shown)
    assert "paper 53.50 ±\u00a00.11" in unescape(table1)
    assert published, "only the column of published numbers has no evaluations"


def test_an_evaluation_has_its_files_and_its_curve(text: str) -> None:
    row = text.split('id="evaluate/swav-60/e2mc/trial0/linear-1"')[1].split("</tr>")[0]
    files = [Path(link).name for link in Parsed(row).links]
    assert files == ["metrics.json", "predictions.csv", "history.csv"]
    points = re.search(r'<polyline points="([^"]+)"', row)
    assert points and points[1] == "2,22.0 50,2.0 98,7.0"
    assert "20.00 after the first, 60.00 at the highest, 50.00 after the last of 3" in row


def test_a_reader_that_cannot_see_misses_nothing(text: str, page: Parsed) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(picture["alt"] for picture in page.all("img"))
    assert len(page.all("img")) == len(needs.figures(SETTINGS))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") or (drawing["role"] == "img" and drawing["aria-label"])
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(head["scope"] for head in page.heads)
    described = [table.get("aria-describedby") for table in page.all("table")]
    assert {name for name in described if name} <= set(page.anchors)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert "+2.00 ±\u00a00.00 points, 95 % interval [+2.00, +2.00], clearly above" in text


def test_every_figure_has_a_text() -> None:
    assert set(FIGURES) == set(needs.FIGURE_NAMES)


def finding(difference: float, verdict: str) -> Finding:
    return Finding("swav-60", "linear-1", difference, 0.5, 3, verdict)


@pytest.mark.parametrize(
    ("verdicts", "begins"),
    [
        (("no clear difference",) * 2, "There is no clear difference in any of 2 comparisons"),
        (("clearly above", "no clear difference"), "Yes, E²MC is clearly above"),
        (("clearly below", "no clear difference"), "No, E²MC is clearly below"),
        (("clearly above", "clearly below"), "It depends: E²MC is clearly above"),
    ],
)
def test_the_answer_is_one_sentence_with_its_uncertainty(
    verdicts: tuple[str, ...], begins: str
) -> None:
    said = answer([finding(1.0, verdicts[0]), finding(-2.0, verdicts[1])])
    assert said.startswith(begins)
    assert said.count(". ") == 0 and said.endswith(
        "between −2.00\u00a0±\u00a00.50 and +1.00\u00a0±\u00a00.50 points."
    )


def test_without_the_comparison_nothing_is_claimed() -> None:
    missing = Finding("swav-60", "linear-1", float("nan"), float("nan"), 0, "not evaluated")
    assert answer([missing]).startswith("Nothing is known yet")
    assert answer([]).startswith("Nothing is known yet")
    assert "None is trained both" in question(SETTINGS, [])


def test_a_figure_that_is_not_drawn_yet_is_named(results: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(results, tmp_path / "results"))
    file = folder / layout.FIGURE.format(figure="figure3", format="png")
    file.unlink()
    before = (folder / layout.FRONT_PAGE).read_bytes()
    with pytest.raises(E2MCError, match=r"figure3\.png does not exist"):
        write_front_page(SETTINGS, folder, folder / layout.FRONT_PAGE)
    assert (folder / layout.FRONT_PAGE).read_bytes() == before


PROBE = """setTimeout(() => {
  const place = name => document.querySelector(name).getBoundingClientRect();
  const table = document.getElementById("table1");
  parent.postMessage(JSON.stringify({
    page: document.documentElement.scrollWidth, width: innerWidth,
    plot: place(".forest").top, table: place("#table1").top,
    cut: table.offsetWidth - table.parentElement.clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    text: getComputedStyle(document.body).color,
    fetched: performance.getEntriesByType("resource").map(entry => entry.name),
  }), "*");
}, 500)"""


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (420, 844)])
def test_a_browser_shows_the_answer_at_once(
    text: str, tmp_path: Path, width: int, height: int, dark: bool
) -> None:
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    seen = browse(text, PROBE, tmp_path, width, height, *options)
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []
    assert seen["page"] <= seen["width"] == width, "nothing sticks out at the side"
    assert seen["cut"] <= 0, "all of Table 1 is there"
    assert seen["plot"] < height
    assert seen["table"] < height or width < 640
    assert (brightness(seen["ground"]) < brightness(seen["text"])) == dark
