"""`make docs`: pages of every package, whose links lead somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from e2mc import criteria, statistics

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """What a page links to, and what can be linked to on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[name] or "" for name in ("href", "src") if name in found]
        self.anchors.add(found.get("id") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, by the Makefile's own command."""
    folder = tmp_path_factory.mktemp("site")
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"\$\(bin\)/pdoc (.*) --output-directory build/docs e2mc", makefile)
    command = [sys.executable, "-m", "pdoc", *options.split(), "--output-directory", str(folder)]
    done = subprocess.run([*command, "e2mc"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr, done.stderr
    return folder


def test_every_package_has_a_page_and_the_library_all_its_names(site: Path) -> None:
    packages = [path.parent.name for path in (ROOT / "e2mc").glob("*/__init__.py")]
    assert [one for one in packages if not (site / f"e2mc/{one}.html").exists()] == []
    for library in (criteria, statistics):
        page = Page((site / f"{library.__name__.replace('.', '/')}.html").read_text())
        assert set(library.__all__) - page.anchors == set()


def test_every_internal_link_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    checked = list(_internal(pages))
    assert len(checked) > 1000
    broken = [f"{page.name}: {link}" for page, link, there in checked if not there]
    # pdoc links what docstrings of torch's own methods name, also where it has no entry for it
    assert [one for one in broken if not one.startswith("optim.html: #LARS.")] == []


def _internal(pages: dict[Path, Page]) -> Iterator[tuple[Path, str, bool]]:
    for page, content in pages.items():
        for link in content.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            there = not anchor or (target in pages and anchor in pages[target].anchors)
            yield page, link, target.exists() and there
