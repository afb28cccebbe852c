"""Makes the transports and the tunnel of one dataplane, each with what it may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ghostwire import (
    Device,
    Metrics,
    NodeContext,
    Provider,
    Transport,
    TransportContext,
    Tunnel,
    TunnelContext,
    TunnelEvents,
)
from ghostwire.capabilities.identity import Identity
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.node.director import Endpoints
from ghostwire.node.filter import MapFilter
from ghostwire.node.parts import Parts
from ghostwire.node.routing.advertised import Advertised
from ghostwire.node.routing.preferences import KeptPreferences
from ghostwire.node.transports.keeper import Keeper, Origin
from ghostwire.node.transports.supervised import Supervised, supervise
from ghostwire.wire.messages import Interest

IDENTIFIED = "derp"
"""The transport that gets an identity."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the dataplane gets from the node.

    ``private_key`` is the node's, ``disco_key`` the private one of disco. ``own_keys`` are the raw public keys of this
    node and its server, which no relay may have. ``endpoints`` are peers' last known ones, which the dataplane keeps up
    to date; ``declare`` tells the server of an interest; ``moved`` is called when a peer's path changed. ``connected``
    says whether the server is reached; ``found`` is called when this node's home or endpoints are others, ``slept``
    after the machine slept. ``server`` gives its URL. ``preferences`` are the person's about routes, ``advertised`` is
    what this node offers itself; ``reconfigure`` has the system's addresses and routes looked at again.
    """

    private_key: PrivateKey
    disco_key: PrivateKey
    own_keys: frozenset[bytes]
    network: NetworkMap
    endpoints: dict[int, Endpoints]
    declare: Callable[[Interest], object]
    moved: Callable[[], object]
    connected: Callable[[], bool]
    found: Callable[[], object]
    slept: Callable[[], object]
    server: Callable[[], str]
    preferences: KeptPreferences
    advertised: Advertised
    reconfigure: Callable[[], object]


def node_context(parts: Parts, around: Surroundings, metrics: Metrics) -> NodeContext:
    """What every plugin of a node gets."""
    return NodeContext(
        settings=None,
        clock=parts.clock,
        entropy=parts.entropy,
        metrics=metrics,
        log=parts.log,
        sockets=parts.sockets,
        state=parts.state,
        node_key=around.private_key.public(NodeKey),
        map=around.network,
        local_addresses=parts.platform.local_addresses,
    )


def create_transports(parts: Parts, around: Surroundings, context: NodeContext) -> list[Supervised]:
    """All that are offered, best first, under supervision."""
    offered = sorted(parts.transports, key=lambda provider: (provider.rank, provider.name))
    return [_create_transport(parts, around, context, provider) for provider in offered]


def _create_transport(
    parts: Parts, around: Surroundings, context: NodeContext, provider: Provider[Transport]
) -> Supervised:
    """The one named `IDENTIFIED` can log in to relays in this node's name."""
    identity = _login(parts, around) if provider.name == IDENTIFIED else None
    whole = TransportContext(**_fields(context), identity=identity)

    def make(metrics: Metrics, failed: Callable[[str], object]) -> Transport:
        return provider.create(msgspec.structs.replace(whole, metrics=metrics, failed=failed))

    owner = parts.owners.get(provider.name, "")
    origin = Origin(provider.name, owner, provider.isolated, sound=provider.isolated or owner in parts.own)
    keeper = Keeper(origin, make, context.metrics, parts.clock, parts.log)
    keeper.register()
    return supervise(keeper)


def create_tunnel(
    parts: Parts, around: Surroundings, context: NodeContext, device: Device, filter_: MapFilter, events: TunnelEvents
) -> Tunnel:
    """The tunnel, which alone gets the private key."""
    return parts.tunnel.create(
        TunnelContext(**_fields(context), private_key=around.private_key, device=device, filter=filter_, events=events)
    )


def _fields(context: NodeContext) -> dict[str, Any]:
    return {name: getattr(context, name) for name in NodeContext.__struct_fields__}


def _login(parts: Parts, around: Surroundings) -> Identity:
    from ghostwire.node.relay_login import RelayLogin  # loads libsodium, which a node without relays does not need

    def foreign(key: bytes) -> bool:
        """Whether this is a key of this node, its server or a peer."""
        nodes = around.network.nodes.values()
        return key in around.own_keys or any(key in (node.node_key.raw, node.disco_key.raw) for node in nodes)

    return RelayLogin(around.private_key, foreign, parts.clock, parts.entropy)
