"""How the conformance kit tries the `quic` transport: over loopback, and what it does without its sockets."""

from __future__ import annotations

from collections.abc import Callable

from ghostwire import Transport
from ghostwire.testing.conformance.transport import InstalledTransport


class QuicContract(InstalledTransport):
    """It cannot go on without its sockets."""

    async def take_away(self, transport: Transport) -> Callable[[], str]:
        """The sockets."""
        return self.lose_sockets(transport)
