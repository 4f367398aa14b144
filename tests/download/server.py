"""One file on a server, and everything that may go wrong with it."""

import hashlib
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from e2mc.download.file import download

CONTENT = bytes(range(256)) * 4096 + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """One file, and everything that may go wrong with it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.ranges = True
        self.refuse_ranges = False
        self.misplaced = 0  # bytes by which a range begins too late
        self.announce_length = True
        self.status = 200
        self.more_headers: list[tuple[str, str]] = []
        self.etag_of_ranges: str | None = None  # where it differs from the file's
        self.raw_answer: bytes | None = None  # instead of HTTP
        self.content_type = "application/octet-stream"
        self.statuses: list[int] = []  # answered one by one before the file is given
        self.break_off: list[int] = []  # bytes after which each body ends, one by one
        self.pause = 0.0
        self.seen: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.seen.append((self.path, asked))
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        if server.raw_answer is not None:
            self.wfile.write(server.raw_answer)
            return
        if asked and server.refuse_ranges:
            self.send_error(416)
            return
        start, etag = 0, server.etag
        unchanged = self.headers.get("If-Range") in (None, server.etag)
        if asked and server.ranges and unchanged:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            etag = server.etag_of_ranges or etag
            last, total = len(server.content) - 1, len(server.content)
            start += server.misplaced
            self.send_header("Content-Range", f"bytes {start}-{last}/{total}")
        else:
            self.send_response(server.status)
        self.send_header("Content-Type", server.content_type)
        for name, value in server.more_headers:
            self.send_header(name, value)
        if etag:
            self.send_header("ETag", etag)
        if server.announce_length:
            self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.send_body(server.content[start:])

    def send_body(self, body: bytes) -> None:
        if self.server.break_off:
            body = body[: self.server.break_off.pop(0)]
        try:
            for first in range(0, len(body), 2**17):
                self.wfile.write(body[first : first + 2**17])
                time.sleep(self.server.pause)
        except OSError:
            pass  # the client had enough

    def log_message(self, *arguments: object) -> None:
        pass


def fast(url: str, path: Path, **options: object) -> Path:
    return download(url, path, **{"attempts": 3, "backoff": 0.001, "timeout": 5, **options})


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
