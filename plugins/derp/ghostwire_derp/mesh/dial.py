"""Opens the stream to a sibling: TCP, TLS where it has it, and the HTTP Upgrade."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from ghostwire import Sockets
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.hints import one_line
from ghostwire.model import MapRelay
from ghostwire.system.tls import check_relay, relay_tls, untrusted
from ghostwire_derp.client.relays import addresses
from ghostwire_derp.client.upgrade import Upgrade

CONNECT_TIMEOUT = 5.0
"""Seconds for each of a relay's addresses."""


async def dial(relay: MapRelay, sockets: Sockets) -> tuple[asyncio.Transport, bytes]:
    """The stream behind a relay's 101, which does not read until it is asked to, and what came after that answer.

    A GhostwireError says why there is none.
    """
    error: GhostwireError = Unavailable("it has no address")
    for address in addresses(relay):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await _open(relay, address, sockets)
        except GhostwireError as failure:
            error = failure
        except TimeoutError:
            error = Unavailable(f"{address}: no answer within {CONNECT_TIMEOUT:.0f} s")
        except ssl.SSLError as failure:
            error = untrusted(relay, failure)
        except OSError as failure:
            error = Unavailable(f"{address}: {one_line(failure)}")
    raise error


async def _open(relay: MapRelay, address: str, sockets: Sockets) -> tuple[asyncio.Transport, bytes]:
    transport, upgrading = await sockets.connect(
        lambda: Upgrading(relay), address, relay.port, tls=relay_tls(relay), server_name=relay.host
    )
    try:
        check_relay(transport, relay)
        return transport, await upgrading.ask()
    except BaseException:
        transport.abort()
        raise


class Upgrading(asyncio.Protocol):
    """The stream until the relay has answered the Upgrade."""

    def __init__(self, relay: MapRelay) -> None:
        self._upgrade = Upgrade(f"{relay.host}:{relay.port}", relay.host)
        self._rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def ask(self) -> bytes:
        """Ask, and wait for the 101; what came behind it."""
        self._transport.write(self._upgrade.request())
        return await self._rest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected; nothing is sent before the certificate was looked at."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Some of the answer. What comes later is left for the stream's next owner."""
        if self._rest.done():
            return
        try:
            rest = self._upgrade.answered(data)
        except GhostwireError as error:
            self._rest.set_exception(error)
        else:
            if rest is not None:
                self._transport.pause_reading()
                self._rest.set_result(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone before it answered."""
        if not self._rest.done():
            cause = f" ({exc})" if exc else ""
            self._rest.set_exception(Unavailable(f"closed the connection without an answer{cause}"))
            self._rest.exception()  # nobody may be waiting yet
