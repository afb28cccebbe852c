"""What a node says of routes: to people, in its status, over the local API."""

from __future__ import annotations

import msgspec


class RouteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A route that another node offers. ``id`` is the route's, ``router`` the node's name.

    ``state`` is ``in use``, ``standby``, ``not answering`` (the router, though it was asked), ``recovering`` (it works
    again, not long enough to go back to it), ``down`` (the router says that it cannot now), ``refused``, ``not
    accepted`` (this node uses no routes), or for a default route ``offered`` (it is not the exit node chosen). ``why``
    explains the state.
    """

    id: int
    prefix: str
    router: str
    state: str
    why: str = ""


class AdvertisedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix that this node offers. ``state`` is ``approved``, ``waiting`` (for approval), or ``down`` (this machine
    has no way there now); ``configured`` where ghostwire.toml says so, and not `gwctl route advertise`."""

    prefix: str
    state: str
    configured: bool = False


class ExitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The exit node chosen. ``trouble`` says in a line why nothing reaches the internet now (empty: all is well)."""

    name: str
    stable_id: str
    lan: bool
    trouble: str = ""


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``accepts`` says whether routes of other nodes are used."""

    accepts: bool = True
    routes: tuple[RouteStatus, ...] = ()
    advertised: tuple[AdvertisedStatus, ...] = ()
    exit_node: ExitStatus | None = None


class ExitNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node that offers the internet. ``latency_ms`` is the round trip there, None where it is not known, and
    ``measured`` how it is: ``path`` (to the node itself), ``relay`` (to its home relay), or empty. ``home`` is its home
    relay's region by name. ``state`` as in `RouteStatus`.
    """

    name: str
    stable_id: str
    addresses: tuple[str, ...]
    state: str
    home: str = ""
    latency_ms: float | None = None
    measured: str = ""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to choosing an exit node. ``notes`` are what the person should know."""

    exit_node: ExitStatus | None
    notes: tuple[str, ...] = ()
