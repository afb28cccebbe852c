"""The way in: an HTTP Upgrade to DERP, after which the stream is the relay's."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from ghostwire import RelayContext, RequestHead, ServerContext, StreamUpgrade
from ghostwire.frontdoor.answers import refuse
from ghostwire.frontdoor.handover import take_socket
from ghostwire_derp.frames import VERSION
from ghostwire_derp.relay.shared import relay_of

UPGRADE: Final = "derp"
PATH: Final = "/derp"
FAST_START: Final = "derp-fast-start"
"""The header of a client that knows the relay's key from its certificate, and waits for no answer."""


class DerpUpgrade(StreamUpgrade):
    """Hands each upgraded connection to the program's relay."""

    token = UPGRADE

    def __init__(self, context: RelayContext | ServerContext) -> None:
        self._relay, self._relaying = relay_of(context), context.relaying

    def take(self, head: RequestHead, transport: asyncio.Transport, rest: bytes) -> None:
        """Answer 101 unless the client is in a hurry, and pass the stream on."""
        path = head.target.partition("?")[0]
        if head.method != "GET" or not path.endswith(PATH):
            text = f"DERP is at GET {PATH}"
            return refuse(transport, HTTPStatus.NOT_FOUND, "not-found", text)
        greeting = b"" if head.headers.get(FAST_START) == "1" else self._switching()
        plain = take_socket(transport)
        if plain is not None:
            return self._relay.take_socket(plain, head.client, rest, greeting)
        transport.write(greeting)
        self._relay.attach(transport, head.client, rest)
        return None

    def _switching(self) -> bytes:
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: DERP",
            "Connection: Upgrade",
            f"Derp-Version: {VERSION}",
            f"Derp-Public-Key: {self._relaying.private_key.public_raw.hex()}",
        )
        return "\r\n".join([*lines, "", ""]).encode("ascii")
