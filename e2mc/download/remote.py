"""A file on a server: what the server says about it, and its bytes from any offset on."""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

_BLOCK = 2**20
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class RefusedError(Exception):
    """This source will not give the file, however often it is asked."""


class BrokenOffError(Exception):
    """The transfer broke off and may succeed if tried again."""


class Remote(NamedTuple):
    """What a server says about a file: it is the same file while all of this is the same."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None

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
        RefusedError: the server has no such file for us, or there is no such server or scheme.
        BrokenOffError: no answer, or one that may change (5xx and the like).
    """
    response = _open(url, timeout, {})
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise RefusedError("the answer is a web page, perhaps the log-in page of a network")
    length = response.headers.get("Content-Length", "")
    remote = Remote(
        url,
        response.headers.get("ETag"),
        response.headers.get("Last-Modified"),
        int(length) if length.isdigit() else None,
    )
    return remote, response


def open_rest(remote: Remote, offset: int, timeout: float) -> tuple[int, http.client.HTTPResponse]:
    """Ask for the bytes from ``offset`` on.

    Returns:
        Offset at which the answer really begins (0 if the server ignores ranges or has another
        file by now), and the answer.

    Raises:
        RefusedError: the range is refused, or the answer is another part of another file.
        BrokenOffError: as :func:`open_remote`.
    """
    headers = {"Range": f"bytes={offset}-"}
    if remote.validator:
        headers["If-Range"] = remote.validator
    response = _open(remote.url, timeout, headers)
    if getattr(response, "status", None) != 206:
        return 0, response
    first, total = _range(response.headers)
    if first != offset or total != remote.size:
        response.close()
        raise RefusedError(f"asked for bytes {offset}-, the server sent {first}- of {total}")
    return offset, response


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


def _open(url: str, timeout: float, headers: dict[str, str]) -> http.client.HTTPResponse:
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


def _range(headers: Message) -> tuple[int, int | None]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if not found:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])
