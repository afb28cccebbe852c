"""HTTP to the local APIs of the node daemon and the server, over their Unix sockets."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ghostwire.errors import PermissionDenied, RemoteProtocolError, Unavailable
from ghostwire.system.unix import peer_of
from ghostwire.wire import api_errors

if TYPE_CHECKING:
    from ghostwire.folders import Folders

LARGEST_ANSWER = 64 << 20
BLOCK = 1 << 16


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class Api:
    """JSON requests to one local API; errors come back as the exceptions of `ghostwire.errors`.

    ``socket_path`` is where it listens, ``absent`` the line for a person when nothing does.
    """

    absent = "nothing listens there"

    def __init__(self, socket_path: Path, *, timeout: float = 30.0) -> None:
        self.socket_path, self.timeout = socket_path, timeout

    def get(self, path: str) -> dict[str, Any]:
        """The answer to a GET."""
        return self.request("GET", path)

    def all(self, path: str, name: str) -> dict[str, Any]:
        """The answer to a GET of a list called ``name``, with what is on its further pages."""
        found = page = self.get(path)
        while "next" in page:
            page = self.get(f"{path}{'&' if '?' in path else '?'}after={page['next']}")
            found[name] += page[name]
        return {key: value for key, value in found.items() if key != "next"}

    def post(
        self,
        path: str,
        body: object = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to a POST; ``timeout`` in seconds where the work takes longer than usual."""
        return self.request("POST", path, {} if body is None else body, timeout=timeout, headers=headers)

    def patch(self, path: str, body: object) -> dict[str, Any]:
        """The answer to a PATCH."""
        return self.request("PATCH", path, body)

    def put(self, path: str, body: object, *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer to a PUT."""
        return self.request("PUT", path, body, headers=headers)

    def delete(self, path: str) -> dict[str, Any]:
        """The answer to a DELETE."""
        return self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request; its JSON object, or the error the other side names.

        Raises Unavailable where nobody listens or answers in time, PermissionDenied where the socket is not ours to
        open, and what the answer's ``{"error": {code, message}}`` stands for.
        """
        with self._answer(method, path, body, timeout or self.timeout, headers or {}) as answer:
            return _decode(answer.status, answer.read(LARGEST_ANSWER))

    def stream(self, path: str, *, timeout: float | None = None) -> Iterator[bytes]:
        """The answer to a GET as it comes, block by block; raises what `request` does. ``timeout`` is for each."""
        with self._answer("GET", path, None, timeout or self.timeout, {}) as answer:
            if answer.status >= 400:
                _decode(answer.status, answer.read(LARGEST_ANSWER))
            while block := answer.read(BLOCK):
                yield block

    @contextmanager
    def _answer(
        self, method: str, path: str, body: object, timeout: float, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _UnixConnection(self.socket_path, timeout)
        try:
            kind = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, _encode(body), {**kind, **headers})
            yield connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unavailable(self.absent) from None
        except PermissionError:
            raise PermissionDenied(f"{self.socket_path}: not yours to open; run as root or as the operator") from None
        except TimeoutError:
            raise Unavailable(f"{self.socket_path}: no answer within {timeout:.0f} s; see its log") from None
        except (http.client.HTTPException, ConnectionError):
            raise Unavailable("the daemon ended the connection; see its log") from None
        except OSError as error:
            raise Unavailable(f"{self.socket_path}: {error.strerror or error}; a shorter --state may help") from None
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether somebody listens on the socket."""
        return self.listener() is not None

    def listener(self) -> int | None:
        """The process id of the listener, as the kernel knows it; None where nobody listens."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(os.fspath(self.socket_path))
            except OSError:
                return None
            return peer_of(sock).pid


class NodeApi(Api):
    """The node daemon's local API."""

    absent = "the node daemon is not running: start it with `gwctl up`"

    def __init__(self, folders: Folders, *, timeout: float = 30.0) -> None:
        super().__init__(folders.node_socket, timeout=timeout)


class ServerApi(Api):
    """The server's local API, for its administrators."""

    absent = (
        "no server runs here: run this on the server's machine as root or the operator, with the same --state; "
        "`ghostwire server` starts one"
    )

    def __init__(self, folders: Folders, *, timeout: float = 30.0) -> None:
        super().__init__(folders.server_socket, timeout=timeout)


def segment(text: str) -> str:
    """A name or id as one segment of a path."""
    return quote(text, safe="")


def _encode(body: object) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _decode(status: int, data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise RemoteProtocolError(f"the answer (status {status}) is not a JSON object; are both of one version?")
    if status >= 400:
        raise api_errors.decode(status, answer)
    return answer
