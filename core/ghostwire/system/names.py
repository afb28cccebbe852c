"""Names of hosts, resolved as this machine does it.

The system may take 20 seconds to give a name up, cannot be interrupted, and event loops have a handful of threads for
all lookups: a few dead names would keep every other from being found. So each name has a thread of its own, once,
however many ask for it.

A node's questions go where its routes lead, through an exit node that may be dead. So where the answers are remembered,
the last one serves when there is no other soon.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread

from ghostwire.system.remembered import Remembered

MOST = 64
"""Names that are looked up at a time."""
PATIENCE = 1.0
"""Seconds that an answer may take where the last one is known; it is remembered when it comes later."""

Found = asyncio.Future[Sequence[str]]


class Resolver:
    """Looks names up; of one event loop. ``remembered`` holds what was found before."""

    def __init__(self, remembered: Remembered | None = None) -> None:
        self._remembered = remembered
        self._pending: dict[tuple[str, bool], Found] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The host's addresses, in the order to try them; itself where it is one.

        OSError where the name is not known or nobody answers, UnicodeError where it can be none.
        """
        last = self._remembered.addresses(host) if self._remembered is not None else ()
        try:
            async with asyncio.timeout(PATIENCE if last else None):
                return await self._found(host, keep=True)
        except (OSError, UnicodeError):
            if not last:
                raise
            return last

    async def once(self, host: str) -> Sequence[str]:
        """The same, of now alone: for names that others make up."""
        return await self._found(host, keep=False)

    async def _found(self, host: str, *, keep: bool) -> Sequence[str]:
        if _is_address(host):
            return [host]
        return await asyncio.shield(self._pending.get((host, keep)) or self._begin(host, keep))

    def _begin(self, host: str, keep: bool) -> Found:
        if len(self._pending) >= MOST:
            raise OSError(errno.EAGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()
        found: Found = loop.create_future()
        remembered = self._remembered if keep else None
        try:
            Thread(target=_look, args=(host, loop, found, remembered), name="lookup", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None
        self._pending[host, keep] = found
        found.add_done_callback(lambda _: self._done(host, keep))
        return found

    def _done(self, host: str, keep: bool) -> None:
        self._pending.pop((host, keep)).exception()  # whoever asked may have left


def _look(host: str, loop: asyncio.AbstractEventLoop, found: Found, remembered: Remembered | None) -> None:
    """In the lookup's thread."""
    answer: Sequence[str] | OSError | UnicodeError
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        answer = list(dict.fromkeys(str(address[0]) for *_, address in answers))
        if remembered is not None:
            remembered.remember(host, answer)
    except (OSError, UnicodeError) as error:
        answer = error
    with suppress(RuntimeError):  # the loop is closed, and nobody waits
        loop.call_soon_threadsafe(_settle, found, answer)


def _settle(found: Found, answer: Sequence[str] | OSError | UnicodeError) -> None:
    if isinstance(answer, OSError | UnicodeError):
        found.set_exception(answer)
    else:
        found.set_result(answer)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
