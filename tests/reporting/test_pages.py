"""From every number a way to its evaluations and their files, on pages that fetch nothing."""

import re
from html import unescape
from pathlib import Path

import pytest

from e2mc.errors import E2MCError
from e2mc.plan import layout, needs
from e2mc.reporting.pages import write_page
from e2mc.reporting.results import address
from e2mc.reporting.tables import write_table
from tests.reporting.parsed import Parsed
from tests.reporting.synthetic_results import (
    experiment,
    percent,
    write_results,
)


def page(results: Path, name: str) -> str:
    return (results / layout.PAGE.format(page=name)).read_text()


def test_every_number_of_a_table_leads_to_its_trials(finished: Path) -> None:
    text = page(finished, "table1")
    found = Parsed(text)
    cells = needs.table_inputs(experiment(trials=2), "table1")
    numbers = [link for content, link in found.cells if "±" in content]
    assert len(numbers) == len({cell[:2] + cell[3:] for cell in cells})
    assert all(link.removeprefix("#") in found.anchors for link in numbers)
    group = text.split('id="evaluate/swav-60/e2mc/trial*/linear-1"')[1].split("</tbody>")[0]
    for cell in cells:
        if cell[:2] == ("swav-60", "e2mc") and cell.protocol == "linear-1":
            assert f'id="{address(*cell[:2], cell.protocol, cell.trial)}"' in group
            assert f">{percent(cell):.2f}<" in group


@pytest.mark.parametrize("name", needs.pages(experiment()))
def test_pages_need_nothing_but_themselves(finished: Path, name: str) -> None:
    text = page(finished, name)
    found = Parsed(text)
    assert found.resources == []
    anchors = [link for link in found.links if link.startswith("#")]
    assert all(link.removeprefix("#") in found.anchors for link in anchors)
    assert len(found.anchors) == len(set(found.anchors))
    assert not re.search(r"https?://|url\(|@import", text)
    body = unescape(re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", text, flags=re.DOTALL))
    assert not re.search(r"\\|\$|\bnan\b|>None<", body), "no LaTeX and no missing value is left"


@pytest.mark.parametrize("name", [*needs.tables(experiment()), "significance", "trials"])
def test_no_number_is_without_a_link(finished: Path, name: str) -> None:
    results = page(finished, name).split("<h2>Evaluations</h2>")[0]
    values = [cell for cell in Parsed(results).cells if re.match(r"[+−]?\d+\.\d\d", cell[0])]
    assert values
    assert [text for text, link in values if not link] == []


def test_an_evaluation_leads_to_its_files(finished: Path) -> None:
    evaluations = page(finished, "table1").split("<h2>Evaluations</h2>")[1]
    folder = (finished / layout.PAGE).parent
    linked = {(folder / link).resolve() for link in Parsed(evaluations).links}
    cells = needs.table_inputs(experiment(trials=2), "table1")
    patterns = (layout.METRICS, layout.PREDICTIONS)
    expected = {finished / name.format(**cell._asdict()) for name in patterns for cell in cells}
    assert linked == expected, "there are no curves here, so no link leads to one"
    assert all(path.exists() for path in linked)


def test_a_reader_that_cannot_see_knows_row_and_column_of_every_number(finished: Path) -> None:
    text = page(finished, "table1").split("<h2>Evaluations</h2>")[0]
    assert text.count("<table") == text.count("<caption>") == 1
    heads = Parsed(text).heads
    assert {head["scope"] for head in heads} == {"row", "col", "colgroup"}
    assert len([head for head in heads if head["scope"] == "row"]) == 9
    spans = [head["colspan"] for head in heads if head["scope"] == "colgroup"]
    assert spans == ["3", "2"]


def test_a_test_over_images_leads_to_the_one_model_that_was_tested(finished: Path) -> None:
    links = [link for _, link in Parsed(page(finished, "table_d1")).cells]
    assert any(re.fullmatch(r"#evaluate/vicreg-60/e2mc/trial\d/linear-1", link) for link in links)
    assert "#evaluate/vicreg-60/e2mc/trial*/linear-1" in links


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
