"""What a test asks about a page."""

from html.parser import HTMLParser


class Parsed(HTMLParser):
    """Anchors, links, resources and headings of a page, and its cells with the link of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.heads: list[dict[str, str | None]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.anchors += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.resources += [found[key] or "" for key in ("src", "srcset", "data") if key in found]
        self.resources += [found["href"] or ""] if tag in ("link", "base", "use", "image") else []
        self.heads += [found] if tag == "th" else []
        if tag in ("td", "th"):
            self.cells.append(("", ""))
            self.inside = True
        if tag == "a" and self.inside:
            self.cells[-1] = ("", found["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            text, link = self.cells[-1]
            self.cells[-1] = (text + data.strip(), link)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of that name, in order."""
        return [attributes for name, attributes in self.tags if name == tag]
