"""Questions and answers with whoever echoes: over TCP to a mesh address, or through a program that carries them."""

from __future__ import annotations

import itertools
import os
import socket
import socketserver
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Self

from natlab import Lab
from netns import in_netns
from programs import wait_for

SIZE, REST = 512, 0.02
PATIENCE = 30.0


class Echo:
    """Sends back what comes to a port of this member's address."""

    def __init__(self, lab: Lab, member: str, address: str, port: int) -> None:
        server = _EchoServer6 if ":" in address else _EchoServer
        with in_netns(lab.ns(member)):
            self._server = server((address, port), _Echoing)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _EchoServer6(_EchoServer):
    address_family = socket.AF_INET6


class _Echoing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)


class Conversation(ABC):
    """A question of `SIZE` bytes, then its answer, and so on while the context is open.

    ``answers`` has the monotonic time of each.
    """

    def __init__(self) -> None:
        self.answers: list[float] = []
        self.began = time.monotonic()
        self._trouble: BaseException | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watched)

    @abstractmethod
    def _open(self) -> None:
        """Make the connection."""

    @abstractmethod
    def _say(self, data: bytes) -> None:
        """Send."""

    @abstractmethod
    def _hear(self, size: int) -> bytes:
        """Receive at most so much; nothing at the end."""

    @abstractmethod
    def _close(self) -> None:
        """End the connection, whatever waits for it."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._thread.join(1)
        self._close()
        self._thread.join()

    def _watched(self) -> None:
        try:
            self._open()
            while not self._closing.wait(REST):
                self._ask(os.urandom(SIZE))
        except (OSError, ValueError) as trouble:
            self._trouble = trouble

    def _ask(self, question: bytes) -> None:
        self._say(question)
        answer = b""
        while len(answer) < SIZE:
            part = self._hear(SIZE - len(answer))
            if not part:
                raise ConnectionError("the other end closed")
            answer += part
        if answer != question:
            raise ValueError("another answer than the question")
        self.answers.append(time.monotonic())

    def goes_on(self, answers: int = 25) -> None:
        """Wait until so many more came; an AssertionError where the connection broke."""
        goal = len(self.answers) + answers

        def there() -> bool:
            assert self._trouble is None, f"the conversation broke: {self._trouble!r}"
            return len(self.answers) >= goal

        wait_for("the conversation goes on", there, PATIENCE)

    def gap(self, since: float) -> float:
        """The longest time in seconds between two answers that had not ended at ``since``."""
        times = [self.began, *self.answers, time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times) if later > since)


class TcpConversation(Conversation):
    """From a member's own TCP to an address and port."""

    def __init__(self, lab: Lab, member: str, address: str, port: int) -> None:
        super().__init__()
        self._socket = lab.socket(member, socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        self._target = (address, port)

    def _open(self) -> None:
        self._socket.connect(self._target)

    def _say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _hear(self, size: int) -> bytes:
        return self._socket.recv(size)

    def _close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class PipedConversation(Conversation):
    """Through a program's standard input and output, which are unbuffered pipes."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        super().__init__()
        self._process = process

    def _open(self) -> None: ...

    def _say(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def _hear(self, size: int) -> bytes:
        assert self._process.stdout is not None
        return bytes(self._process.stdout.read(size))

    def _close(self) -> None:
        self._process.kill()
        self._process.wait()
