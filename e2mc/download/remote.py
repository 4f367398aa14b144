"""A file on a server: what the server says about it, and its bytes from any offset on."""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

_BLOCK = 2**20
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_SHOWN = 400


class TransferError(Exception):
    """Carries what a server said; what is not text is left out, as it may control a terminal."""

    def __init__(self, reason: str) -> None:
        shown = "".join(character if character.isprintable() else "?" for character in reason)
        super().__init__(shown[:_SHOWN])


class RefusedError(TransferError):
    """This source will not give the file, however often it is asked."""


class BrokenOffError(TransferError):
    """The transfer broke off and may succeed if tried again."""


class Remote(NamedTuple):
    """What a server says about a file: it is the same file while all of this is the same."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None
    delimited: bool = True
    """Whether the end of the body can be told from a connection that was cut."""

    @property
    def validator(self) -> str | None:
        """Header value with which a range may be asked for; weak tags do not qualify."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


def as_url(source: str) -> str:
    """A URL as it is, a plain path as a ``file`` URL."""
    return source if "://" in source else Path(source).expanduser().absolute().as_uri()


def open_remote(url: str, timeout: float) -> tuple[Remote, http.client.HTTPResponse]:
    """Ask for the whole file.

    Raises:
        RefusedError: the server has no such file for us, answers with something else than the
            file as it is, or there is no such server or scheme.
        BrokenOffError: no answer, or one that may change (5xx and the like).
    """
    response = _open(url, timeout, {})
    try:
        _require_status(response, 200)
        if response.headers.get_content_type() == "text/html":
            raise RefusedError("the answer is a web page, perhaps the log-in page of a network")
        headers, size = response.headers, _length(response.headers)
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        delimited = chunked or size is not None
        return Remote(url, headers["ETag"], headers["Last-Modified"], size, delimited), response
    except RefusedError:
        response.close()
        raise


def open_rest(remote: Remote, offset: int, timeout: float) -> tuple[int, http.client.HTTPResponse]:
    """Ask for the bytes from ``offset`` on.

    Returns:
        Offset at which the answer really begins (0 if the server ignores ranges or has another
        file by now), and the answer.

    Raises:
        RefusedError: the range is refused, or the answer is another part, or of another file.
        BrokenOffError: as :func:`open_remote`.
    """
    headers = {"Range": f"bytes={offset}-"}
    if remote.validator:
        headers["If-Range"] = remote.validator
    response = _open(remote.url, timeout, headers)
    try:
        if response.status != 206:
            _require_status(response, 200)
            return 0, response
        _require_status(response, 206)
        first, total = _range(response.headers)
        if first != offset or total != remote.size:
            raise RefusedError(f"asked for bytes {offset}-, the server sent {first}- of {total}")
        for header, before in (("ETag", remote.etag), ("Last-Modified", remote.last_modified)):
            if response.headers.get(header, before) != before:
                raise RefusedError(f"the file has changed on the server ({header})")
        return offset, response
    except RefusedError:
        response.close()
        raise


def blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives.

    Raises:
        BrokenOffError: the connection broke or fell silent.
    """
    try:
        while block := response.read1(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(str(error) or type(error).__name__) from error


def _require_status(response: http.client.HTTPResponse, status: int) -> None:
    """Refuse an answer that is not the file's own bytes; a local file has no status."""
    if response.status not in (None, status):
        raise RefusedError(f"the server answered {response.status} where {status} is expected")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusedError(f"the server sent the file encoded ({encoding})")


def _length(headers: Message) -> int | None:
    stated = set(headers.get_all("Content-Length", []))
    if not stated:
        return None
    length = stated.pop()
    if stated or not re.fullmatch("[0-9]{1,18}", length):
        raise RefusedError(f"the server states no single length: {', '.join([length, *stated])}")
    return int(length)


def _open(url: str, timeout: float, headers: dict[str, str]) -> http.client.HTTPResponse:
    _require_regular(url)
    asked = {"User-Agent": "e2mc", "Accept-Encoding": "identity", **headers}
    try:
        # A new opener reads the proxy variables as they are now; `urlopen` caches them.
        opener = urllib.request.build_opener()
        request = urllib.request.Request(url, headers=asked)
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        kind = BrokenOffError if error.code in _TRANSIENT else RefusedError
        raise kind(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        local = url.startswith("file:") or "unknown url type" in str(error.reason)
        certificate = type(error.reason).__name__ == "SSLCertVerificationError"
        raise (RefusedError if local or certificate else BrokenOffError)(
            str(getattr(error.reason, "strerror", None) or error.reason)
        ) from error
    except ValueError as error:
        raise RefusedError(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(str(error) or type(error).__name__) from error


def _require_regular(url: str) -> None:
    """Refuse a local pipe or device: opening it may wait, or its content end, never."""
    if url.startswith("file:"):
        path = Path(url2pathname(urlsplit(url).path))
        if path.exists() and not path.is_file():
            raise RefusedError(f"{path} is not a regular file")


def _range(headers: Message) -> tuple[int, int | None]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if not found:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])
