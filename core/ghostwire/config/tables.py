"""The tables of ghostwire.toml and their defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: typed, closed, every key with a default."""


class ServerConfig(Table, frozen=True, kw_only=True):
    """``[server]``.

    ``url`` is what join tokens announce (empty: https, or http without ``tls``, on this host's name and port).
    Empty certificate paths mean a certificate made on first start. An empty ``ipv6`` means a random /48 ULA, stored
    at first start. ``operator`` is a user of this machine who may administer besides root. ``keep_revisions`` is how
    far back the change log lets nodes resume; ``ephemeral_grace`` the seconds after which an ephemeral node that went
    away is removed. ``region`` is the region of the relay that runs in the server itself, ``relay_url`` where nodes
    find that relay (empty: at ``url``, where no other server can be). ``derp_map`` is a file or an
    https:// URL with a DERP map in JSON, whose relays the mesh uses too. ``without_policy`` is what holds while a
    policy engine is selected and no policy is stored. ``overlapping_routes`` says whether a route that overlaps another
    router's, without being the same, may be approved (the longest prefix then wins).
    """

    listen: str = "0.0.0.0:8080"
    url: str = ""
    tls: bool = True
    certificate: str = ""
    certificate_key: str = ""
    domain: str = "mesh.local"
    ipv4: str = "100.64.0.0/16"
    ipv6: str = ""
    storage: str = "sql"
    operator: str = ""
    keep_revisions: Annotated[int, msgspec.Meta(ge=100)] = 100_000
    ephemeral_grace: Annotated[int, msgspec.Meta(ge=0)] = 300
    region: str = "home"
    relay_url: str = ""
    derp_map: str = ""
    without_policy: Literal["allow", "deny"] = "allow"
    overlapping_routes: Literal["refuse", "longest"] = "refuse"


class NodeConfig(Table, frozen=True, kw_only=True):
    """``[node]``. An empty ``platform`` is the first one offered; an empty ``hostname`` this machine's own.

    ``endpoints`` are further addresses (``1.2.3.4:41641``) at which peers reach this node, by a forwarded port, say.
    ``port_mapping`` lets it ask the router for one (NAT-PMP, PCP, UPnP).

    ``routes`` are prefixes that it offers to pass packets on to, ``exit_node`` offers the whole internet; ``snat``
    hides the mesh's addresses from the hosts there. ``accept_routes`` uses what other nodes offer. ``filter`` says who
    checks arriving packets: this program, or the operating system's firewall.
    """

    interface: str = "gw0"
    mtu: Annotated[int, msgspec.Meta(ge=1280, le=9000)] = 1280
    tunnel: str = "userspace"
    platform: str = ""
    operator: str = ""
    hostname: str = ""
    endpoints: tuple[str, ...] = ()
    port_mapping: bool = True
    routes: tuple[str, ...] = ()
    exit_node: bool = False
    snat: bool = True
    accept_routes: bool = True
    filter: Literal["userspace", "kernel"] = "userspace"


class RelayConfig(Table, frozen=True, kw_only=True):
    """``[relay]``.

    Empty certificate paths mean a certificate made on first start. ``workers`` processes share the port, one a core.
    ``open`` serves whoever comes, without a mesh; else a relay enrols with a server and serves its nodes alone.
    """

    listen: str = "0.0.0.0:3478"
    tls: bool = True
    certificate: str = ""
    certificate_key: str = ""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    open: bool = False


class Document(Table, frozen=True, kw_only=True):
    """The whole file. ``plugins`` None: it has no such list."""

    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    node: NodeConfig = msgspec.field(default_factory=NodeConfig)
    relay: RelayConfig = msgspec.field(default_factory=RelayConfig)
    plugins: tuple[str, ...] | None = None
    plugin: dict[str, dict[str, Any]] = {}
