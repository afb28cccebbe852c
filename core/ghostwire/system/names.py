"""Names of hosts, resolved as this machine does it.

The system may take 20 seconds to give a name up, cannot be interrupted, and event loops have a handful of threads for
all lookups: a few dead names would keep every other from being found. So each name has a thread of its own, once,
however many ask for it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread

MOST = 64
"""Names that are looked up at a time."""

Found = asyncio.Future[Sequence[str]]


class Resolver:
    """Looks names up; of one event loop."""

    def __init__(self) -> None:
        self._pending: dict[str, Found] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The host's addresses, in the order to try them; itself where it is one.

        OSError where the name is not known or nobody answers, UnicodeError where it can be none.
        """
        if _is_address(host):
            return [host]
        return await asyncio.shield(self._pending.get(host) or self._begin(host))

    def _begin(self, host: str) -> Found:
        if len(self._pending) >= MOST:
            raise OSError(errno.EAGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()
        found: Found = loop.create_future()
        try:
            Thread(target=_look, args=(host, loop, found), name="lookup", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None
        self._pending[host] = found
        found.add_done_callback(lambda _: self._done(host))
        return found

    def _done(self, host: str) -> None:
        self._pending.pop(host).exception()  # whoever asked may have left


def _look(host: str, loop: asyncio.AbstractEventLoop, found: Found) -> None:
    """In the lookup's thread."""
    answer: Sequence[str] | OSError | UnicodeError
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        answer = list(dict.fromkeys(str(address[0]) for *_, address in answers))
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
