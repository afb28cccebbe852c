"""What a node is composed of: every part comes from outside, so that a whole mesh runs in memory."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from ghostwire import Metrics, Platform, Provider, Service, Sockets, Transport, Tunnel
from ghostwire.engine import Clock, Entropy
from ghostwire.node.netcheck.names import Lookup
from ghostwire.node.routing.advertised import Offered
from ghostwire.uplink.control import Connect
from ghostwire.wire.messages import Host

Echo = Callable[[str, float], Awaitable[float]]
"""One ICMP echo to an address within seconds; gives the round trip in seconds, Unavailable without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A node's parts.

    ``state`` is its private folder (it exists, mode 0700). ``transports``, ``tunnel`` and ``services`` are made
    anew at each `up`, from a NodeContext (a TunnelContext) whose ``settings`` are None: who needs settings wraps
    ``create``. ``bare`` names the transport that can send to a bare address, for STUN; its port is a ``fixed_port``
    where the operator may have set up forwarding to it. ``configured`` are endpoints (``host:port``) that he vouches
    for; without ``port_mapping`` no router is asked for one. ``lookup`` resolves names. ``owners`` says which plugin
    offers a transport, by its name, and ``own`` which plugins came with GhostWire itself. ``offered`` are the routes
    that the configuration offers to others, and ``accept_routes`` says whether theirs are used; ``resolvers`` gives the
    name servers that this machine asks. With ``kernel_filter`` the operating system's firewall checks what arrives.
    """

    state: FilePath
    transports: Sequence[Provider[Transport]]
    tunnel: Provider[Tunnel]
    platform: Platform
    sockets: Sockets
    clock: Clock
    entropy: Entropy
    connect: Connect
    echo: Echo
    lookup: Lookup
    services: Sequence[Provider[Service]] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    bare: str = "udp"
    fixed_port: bool = True
    configured: Sequence[str] = ()
    port_mapping: bool = True
    offered: Offered = field(default_factory=Offered)
    accept_routes: bool = True
    resolvers: Callable[[], Sequence[str]] = tuple
    host: Host = field(default_factory=Host)
    interface: str = "gw0"
    mtu: int = 1280
    kernel_filter: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("ghostwire.node"))
