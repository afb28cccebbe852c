"""Ends the relay's streams in order when its program stops."""

from __future__ import annotations

from ghostwire import RelayContext, ServerContext, Service
from ghostwire_derp.relay.shared import drop_relay, relay_of


class RelayService(Service):
    """The relay of this program, as something that is closed."""

    name = "relay"

    def __init__(self, context: RelayContext | ServerContext) -> None:
        self._relay, self._relaying = relay_of(context), context.relaying

    async def start(self) -> None:
        """Streams come through the upgrade: there is nothing to start."""

    async def close(self) -> None:
        """Close every stream; harmless when called twice."""
        self._relay.close()
        drop_relay(self._relaying)
