"""What derp offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ghostwire import (
    Command,
    Provider,
    RelayContext,
    Routes,
    ServerContext,
    Service,
    StreamUpgrade,
    Transport,
    TransportContext,
    hookimpl,
)
from ghostwire_derp.settings import Settings

if TYPE_CHECKING:
    import click

RELAYING = ("server", "relay")
"""The programs that relay."""

__all__ = ["Settings"]


def _transport(context: TransportContext) -> Transport:
    from ghostwire_derp.client.transport import DerpTransport

    return DerpTransport(context)


def _upgrade(context: ServerContext | RelayContext) -> StreamUpgrade:
    from ghostwire_derp.relay.upgrade import DerpUpgrade

    return DerpUpgrade(context)


def _relay(context: ServerContext | RelayContext) -> Service:
    from ghostwire_derp.relay.service import RelayService

    return RelayService(context)


def _stun(context: ServerContext | RelayContext) -> Service:
    from ghostwire_derp.stun import StunService

    return StunService(context)


def _mesh(context: ServerContext | RelayContext) -> Service:
    from ghostwire_derp.mesh.service import MeshService

    return MeshService(context)


def _routes(context: ServerContext | RelayContext) -> Routes:
    from ghostwire_derp.routes import DerpRoutes

    return DerpRoutes(context)


@hookimpl
def ghostwire_upgrades() -> Iterator[Provider[StreamUpgrade]]:
    """The relay itself, behind the program's one port."""
    yield Provider("derp", _upgrade)


@hookimpl
def ghostwire_transports() -> Iterator[Provider[Transport]]:
    """Sealed datagrams through a relay, where no direct way is known."""
    yield Provider("derp", _transport, rank=100)


@hookimpl
def ghostwire_services() -> Iterator[Provider[Service]]:
    """The relay's end, STUN, and the meshing of a region's relays."""
    yield Provider("relay", _relay, roles=RELAYING)
    yield Provider("stun", _stun, roles=RELAYING)
    yield Provider("mesh", _mesh, roles=RELAYING)


@hookimpl
def ghostwire_routes() -> Iterator[Provider[Routes]]:
    """Latency checks, DERP over WebSockets, and what stock relays ask the server."""
    yield Provider("derp", _routes)


@hookimpl
def ghostwire_commands() -> Iterator[Command]:
    """The relay program."""
    yield Command("ghostwire", "relay", load_relay, "Run a relay.")


def load_relay() -> click.Command:
    """The click command."""
    from ghostwire_derp.command import relay

    return relay


def conformance(capability: str) -> type[object] | None:
    """The rules by which ``pytest --ghostwire-conformance`` judges this plugin."""
    if capability != "transport":
        return None
    from ghostwire_derp.conformance import DerpContract

    return DerpContract
