"""Whether something in between answers web requests in relays' place, as the portals of hotels and trains do.

    GET /generate_204                           the same path as stock relays'
    X-Tailscale-Challenge: gw-1f2e3d4c

    204                                         and no other status
    X-Tailscale-Response: response gw-1f2e3d4c

One relay that answers so is enough: there is none. Where all that answer do otherwise, or in another's name, there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ghostwire.errors import AuthenticationFailed, GhostwireError, RemoteProtocolError
from ghostwire.model import MapRelay
from ghostwire.node.netcheck import https
from ghostwire.node.parts import Parts

PATH = "/generate_204"
MOST = 3
"""Relays that are asked."""
PATIENCE = 2.0
"""Seconds for all of them."""


async def captive_portal(relays: Iterable[MapRelay], parts: Parts) -> bool | None:
    """None where nobody answered."""
    asked = [asyncio.ensure_future(_genuine(relay, parts)) for relay, _ in zip(relays, range(MOST), strict=False)]
    wrong: bool | None = None
    try:
        for each in asyncio.as_completed(asked, timeout=PATIENCE):
            genuine = await each
            if genuine:
                return False
            wrong = wrong if genuine is None else True
    except TimeoutError:
        pass
    finally:
        for task in asked:
            task.cancel()
    return wrong


async def _genuine(relay: MapRelay, parts: Parts) -> bool | None:
    """Whether the relay itself answered; None where nobody did."""
    challenge = f"gw-{parts.entropy(8).hex()}"
    headers = [("X-Tailscale-Challenge", challenge)]
    try:
        answer = await https.ask(relay, PATH, parts.sockets, parts.clock, headers)
    except (AuthenticationFailed, RemoteProtocolError):
        return False
    except (GhostwireError, OSError):
        return None
    return answer.status == 204 and answer.headers.get(b"x-tailscale-response") == f"response {challenge}".encode()
