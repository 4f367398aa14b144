"""A page in a real browser, without a network."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

FRAME = """<!doctype html><title>waiting</title><meta name="color-scheme" content="light dark">
<style>body { margin: 0 }</style>
<iframe src="page.html" style="border: 0; width: %dpx; height: %dpx"></iframe>
<script>onmessage = event => { document.title = event.data }</script>"""
"""A window of that size: a browser's own window has a least width, beyond that of a phone."""


def browse(
    page: str, script: str, folder: Path, width: int, height: int, *options: str
) -> dict[str, Any]:
    """What `script`, put at the end of the page, sends to ``parent.postMessage`` as JSON."""
    head, _, tail = page.rpartition("</body>")
    (folder / "page.html").write_text(f"{head}<script>{script}</script></body>{tail}")
    window = folder / "window.html"
    window.write_text(FRAME % (width, height))
    fixed = ["--headless", "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
    fixed += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"]
    browsed = subprocess.run(
        [str(BROWSER), *fixed, *options, "--window-size=1300,1000", "--dump-dom", window.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )
    title = re.search(r"<title>(\{.*?\})</title>", browsed.stdout)
    assert title, browsed.stderr
    seen: dict[str, Any] = json.loads(unescape(title[1]))
    return seen
