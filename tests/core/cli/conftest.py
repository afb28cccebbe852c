"""A local API that answers from a table, and gwctl run in this process."""

from __future__ import annotations

import http.server
import json
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ghostwire.cli.errors import explain
from ghostwire.cli.program import Program


class Server(socketserver.ThreadingUnixStreamServer):
    """Says nothing of clients that hang up, as one that is interrupted does."""

    def handle_error(self, *about: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*about)


class FakeApi:
    """Answers (status, body) per (method, path), or what a function gives; remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any] | Callable[[], tuple[int, Any]]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.if_match: list[str] = []
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                api.asked.append((self.command, self.path, body))
                api.if_match += self.headers.get_all("If-Match") or []
                found = api.answers.get((self.command, self.path), (404, {}))
                status, answer = found() if callable(found) else found
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = reply

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = Server(str(path), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder with a path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        (Path(folder) / "run").mkdir()
        yield Path(folder)


@pytest.fixture
def serve(state: Path) -> Iterator[Callable[[str], FakeApi]]:
    """Starts a fake ``node`` or ``server`` API in the state folder."""
    apis: list[FakeApi] = []

    def start(name: str) -> FakeApi:
        apis.append(FakeApi(state / "run" / f"{name}.sock"))
        return apis[-1]

    yield start
    for api in apis:
        api.close()


@pytest.fixture
def run(state: Path) -> Callable[..., Result]:
    """Runs a command as gwctl would; ``exit_code`` and ``stderr`` are those of the program."""

    def invoke(command: Any, *words: str, **options: Any) -> Result:
        result = CliRunner().invoke(command, words, obj=Program(state=state, client=True), **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            result.exit_code, line = explain(result.exception)
            result.stderr_bytes = (result.stderr_bytes or b"") + f"error: {line}\n".encode()
        return result

    return invoke
