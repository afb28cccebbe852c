"""The one relay of a program: its upgrade, its routes and its mesh each ask for it."""

from __future__ import annotations

from ghostwire import RelayContext, Relaying, ServerContext
from ghostwire_derp.relay.relay import Relay

_relays: dict[Relaying, Relay] = {}


def relay_of(context: RelayContext | ServerContext) -> Relay:
    """The relay of this context's program, made when it is asked for first."""
    relay = _relays.get(context.relaying)
    if relay is None:
        relay = Relay(context.relaying, context.settings, context.clock, context.entropy, context.metrics)
        _relays[context.relaying] = relay
    return relay


def drop_relay(relaying: Relaying) -> None:
    """The program ends; harmless when called twice."""
    _relays.pop(relaying, None)
