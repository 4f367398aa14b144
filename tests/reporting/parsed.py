"""What a test asks about a page."""

from html.parser import HTMLParser


class Parsed(HTMLParser):
    """Anchors, links and resources of a page, and its cells with the link of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.heads: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.resources += [found[key] or "" for key in ("src", "srcset", "data") if key in found]
        self.resources += [found["href"] or ""] if tag in ("link", "base", "use", "image") else []
        self.heads += [found] if tag == "th" else []
        if tag in ("td", "th"):
            self.cells.append(("", ""))
        if tag == "a" and self.cells:
            self.cells[-1] = ("", found["href"] or "")

    def handle_data(self, data: str) -> None:
        if self.cells:
            text, link = self.cells[-1]
            self.cells[-1] = (text + data.strip(), link)
