"""The child's end of the control channel: what it is told, and what it asks for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from ghostwire import errors
from ghostwire.errors import GhostwireError, PlatformError, Unavailable
from ghostwire.plugins.isolation.channel import Channel
from ghostwire.plugins.isolation.protocol import Answer, Ask, Control, encode, from_daemon

PATIENCE: Final = 5.0
"""Seconds that the daemon may take where the child cannot go on without it."""
ONE_PASS: Final = 64

Told = Callable[[Any, socket.socket | None], None]


class Line:
    """``told`` is called with every message but answers, and with the socket that came along."""

    def __init__(self, channel: Channel, told: Told) -> None:
        self._channel, self._told = channel, told
        self._asked: dict[int, asyncio.Future[tuple[Answer, socket.socket | None]]] = {}
        self._number = 0

    def open(self) -> None:
        """Listen from now on."""
        asyncio.get_running_loop().add_reader(self._channel.control, self._drain)

    def tell(self, message: Control, *, urgent: bool = True) -> None:
        """Tell the daemon; what is not urgent is dropped where it does not read."""
        data = encode(message)
        if not self._channel.tell(data) and urgent:
            with contextlib.suppress(Unavailable):
                self._channel.wait(PATIENCE, writable=True)
            self._channel.tell(data)

    def ask_now(self, what: str, host: str, port: int) -> socket.socket:
        """A socket, waited for in the middle of the event loop's pass; raises the daemon's error."""
        number, until = self._ask(what, host, port), time.monotonic() + PATIENCE
        while True:
            self._channel.wait(until - time.monotonic())
            message, came = self._hear() or (None, None)
            if isinstance(message, Answer) and message.number == number:
                return _socket_of(message, came)
            asyncio.get_running_loop().call_soon(self._take, message, came)

    async def ask(self, what: str, host: str, port: int, **more: Any) -> tuple[Answer, socket.socket | None, int]:
        """The answer, the socket that came along, and the number of the question; raises the daemon's error. ``more``
        are further fields of `Ask`."""
        number = self._ask(what, host, port, **more)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            answer, came = await answered
        finally:
            del self._asked[number]
        raise_if_refused(answer)
        return answer, came, number

    def stop(self, number: int) -> None:
        """Listen no more on what this question opened."""
        self.tell(Ask(number=number, what="stop"))

    def _ask(self, what: str, host: str, port: int, **more: Any) -> int:
        self._number += 1
        self.tell(Ask(number=self._number, what=what, host=host, port=port, **more))
        return self._number

    def _hear(self) -> tuple[Any, socket.socket | None] | None:
        heard = self._channel.hear_all()
        if heard is None:
            return None
        if not heard[0]:
            os._exit(0)  # the daemon is gone
        return from_daemon(heard[0]), heard[1]

    def _drain(self) -> None:
        for _ in range(ONE_PASS):
            heard = self._hear()
            if heard is None:
                return
            self._take(*heard)

    def _take(self, message: Any, came: socket.socket | None) -> None:
        if message is None:
            return
        if not isinstance(message, Answer):
            self._told(message, came)
        elif (answered := self._asked.get(message.number)) is not None and not answered.done():
            answered.set_result((message, came))
        elif came is not None:
            came.close()


def raise_if_refused(answer: Answer) -> None:
    """Raise what the daemon met with, if it did."""
    if answer.kind:
        kind = getattr(errors, answer.kind, PlatformError)
        usable = isinstance(kind, type) and issubclass(kind, GhostwireError) and kind is not errors.PluginError
        raise (kind if usable else PlatformError)(answer.error)


def _socket_of(answer: Answer, came: socket.socket | None) -> socket.socket:
    raise_if_refused(answer)
    if came is None:
        raise PlatformError("no socket came; the process has too many descriptors")
    return came
