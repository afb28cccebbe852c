"""GhostWire: a mesh VPN whose every capability is a plugin. This is what a plugin's author imports first.

from ghostwire import Provider, Transport, hookimpl

@hookimpl
def ghostwire_transports():
    yield Provider("pigeon", PigeonTransport, rank=50)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import pluggy

from ghostwire.capabilities.authentication import Admission, Authenticator, EnrolmentRequest
from ghostwire.capabilities.contexts import (
    Context,
    Listening,
    Mesh,
    NodeContext,
    RelayContext,
    ServerContext,
    Sockets,
    TransportContext,
    TunnelContext,
)
from ghostwire.capabilities.http import RequestHead, Routes, StreamUpgrade
from ghostwire.capabilities.identity import Identity
from ghostwire.capabilities.names import Resolver
from ghostwire.capabilities.platform import Device, FirewallRule, Forwarding, NetworkConfig, Platform
from ghostwire.capabilities.policy import Bearer, CompiledPolicy, Person, PolicyEngine, PolicyRule
from ghostwire.capabilities.relaying import Fellows, Load, Relaying, Siblings
from ghostwire.capabilities.service import Service
from ghostwire.capabilities.storage import Change, Commit, Snapshot, Storage, Transaction
from ghostwire.capabilities.telemetry import Metric, Metrics, Telemetry
from ghostwire.capabilities.transport import (
    BURST,
    MESH_MTU,
    SEALED_MTU,
    Buffer,
    Path,
    Receive,
    RelayTransport,
    Transport,
    parse_relay_endpoint,
    relay_endpoint,
)
from ghostwire.capabilities.tunnel import Activity, Filter, PeerStats, Tunnel, TunnelEvents, TunnelPeer

if TYPE_CHECKING:
    import click

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("ghostwire")
"""Marks a plugin's function as the implementation of the hook of that name (see `ghostwire.hookspecs`)."""

T = TypeVar("T", covariant=True)


class Provider(msgspec.Struct, Generic[T], frozen=True):
    """A named capability. ``create(context)`` is plain, quick and does no I/O; lower ranks are preferred.

    ``roles`` are the programs it is for (``server``, ``node``, ``relay``), where not for all that ask its hook.
    ``isolated`` is core's to set: what ``create`` makes stands for an object in a process of its own.
    """

    name: str
    create: Callable[[Any], T]
    rank: int = 0
    roles: tuple[str, ...] = ()
    isolated: bool = False


class Command(msgspec.Struct, frozen=True):
    """A subcommand of ``program`` (``ghostwire`` or ``gwctl``); ``load`` imports and gives the click command."""

    program: str
    name: str
    load: Callable[[], click.Command]
    help: str = ""


__all__ = [
    "BURST",
    "MESH_MTU",
    "SEALED_MTU",
    "Activity",
    "Admission",
    "Authenticator",
    "Bearer",
    "Buffer",
    "Change",
    "Command",
    "Commit",
    "CompiledPolicy",
    "Context",
    "Device",
    "EnrolmentRequest",
    "Fellows",
    "Filter",
    "FirewallRule",
    "Forwarding",
    "Identity",
    "Listening",
    "Load",
    "Mesh",
    "Metric",
    "Metrics",
    "NetworkConfig",
    "NodeContext",
    "Path",
    "PeerStats",
    "Person",
    "Platform",
    "PolicyEngine",
    "PolicyRule",
    "Provider",
    "Receive",
    "RelayContext",
    "RelayTransport",
    "Relaying",
    "RequestHead",
    "Resolver",
    "Routes",
    "ServerContext",
    "Service",
    "Siblings",
    "Snapshot",
    "Sockets",
    "Storage",
    "StreamUpgrade",
    "Telemetry",
    "Transaction",
    "Transport",
    "TransportContext",
    "Tunnel",
    "TunnelContext",
    "TunnelEvents",
    "TunnelPeer",
    "hookimpl",
    "parse_relay_endpoint",
    "relay_endpoint",
]
