"""Reads a DERP map's text from a file, or from a URL whose answer must come in time and be small."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException
from typing import IO, Any, NamedTuple

from ghostwire.config import check_map_url
from ghostwire.errors import RemoteProtocolError, Unavailable
from ghostwire.server.relays.derp_map import MAX_BYTES

TIMEOUT = 10.0
"""Seconds for each step of a request."""
PATIENCE = 30.0
"""Seconds for the whole of it."""
CHUNK = 64 * 1024
NOT_MODIFIED = 304


class Text(NamedTuple):
    """What was read, and the mark by which a later read knows that nothing has changed."""

    content: bytes
    mark: str


def read(place: str, mark: str) -> Text | None:
    """The text at this path or URL; None where it is as it was at ``mark``.

    Blocks, so it belongs in a thread. Unavailable where it can't be had, RemoteProtocolError where it is too large.
    """
    return _fetch(place, mark) if "://" in place else _read_file(place, mark)


def _read_file(path: str, mark: str) -> Text | None:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            now = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
            return None if now == mark else Text(_bounded(file, float("inf")), now)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from None


def _fetch(url: str, mark: str) -> Text | None:
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(url, headers={"If-None-Match": mark} if mark else {})  # noqa: S310
    try:
        check_map_url(url)
        with opener.open(request, timeout=TIMEOUT) as answer:
            return Text(_bounded(answer, time.monotonic() + PATIENCE, answer.length), answer.headers.get("ETag", ""))
    except urllib.error.HTTPError as error:
        if error.code == NOT_MODIFIED:
            return None
        raise Unavailable(f"{url}: status {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Never from a URL that is good enough to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Check where it leads."""
        check_map_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _bounded(source: Any, deadline: float, length: int | None = None) -> bytes:
    """All of it, in whatever portions it comes; ``length`` None: to its end."""
    content = bytearray()
    while (length is None or len(content) < length) and (chunk := source.read1(CHUNK)):
        content += chunk
        if len(content) > MAX_BYTES:
            raise RemoteProtocolError(f"it is longer than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come within {PATIENCE:.0f} s")
    return bytes(content)
