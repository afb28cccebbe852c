"""Relays over the API: what administrators see of them and do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.rest import Listing, Page, expect, paged, route, shows
from ghostwire.keys import MachineKey, RelayKey
from ghostwire.model import Relay
from ghostwire.server.api.views import Named, View
from ghostwire.server.relays import derp_map, records
from ghostwire.server.relays.administration import Alteration, Order, RelayAdministration
from ghostwire.server.relays.relays import Relays

PATH = "/api/v1/relays"

_PLAIN = [name for name in Relay.__struct_fields__ if name not in ("digest", "expires", "region", "region_name")]


class RelayView(View, frozen=True):
    """A relay with what is known of it now.

    ``state`` is ``connected`` or ``away``; ``waiting`` for its token's use, or for a new one: ``token expired``;
    ``unwatched``: a relay of the DERP map, of which the server hears nothing. ``nodes`` are those whose home it is to
    be, ``takers`` the others of its region that could take them.
    """

    id: int
    name: str
    region: Named
    host: str
    port: int
    stun_port: int
    stun_fixed: bool
    ipv4: str
    ipv6: str
    tls: bool
    certificate: str
    key: RelayKey | None
    machine_key: MachineKey | None
    capacity: int
    draining: bool
    source: str
    created: int
    state: str
    token_expires: int | None
    nodes: int
    takers: int
    clients: int | None
    bytes_per_second: int | None
    version: str


class RelaysView(Listing, frozen=True, kw_only=True):
    """Relays by id."""

    relays: tuple[RelayView, ...]


class CreatedRelay(View, frozen=True):
    """A new relay, and the join token by which it enrols, shown once."""

    relay: RelayView
    token: str


class RelayRoutes(Routes):
    """``token(secret)`` is the join token of a new relay's secret."""

    name = "relays"

    def __init__(
        self,
        administration: RelayAdministration,
        relays: Relays,
        token: Callable[[str], str],
        now: Callable[[], int],
    ) -> None:
        self._administration, self._relays = administration, relays
        self._token, self._now = token, now

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """List, make, change, drain, delete; and all of them as a DERP map."""
        one, view = PATH + "/{id}", RelayView
        made = {"body": Order, "answer": CreatedRelay, "creates": True, "ids": "/relay/id"}
        change = {"body": Alteration, "answer": view, "guarded": True}
        return [
            route("/api/v1/derpmap", self._derp_map, summary="Show DERP map"),
            route(PATH, self._list, summary="List relays", query=Page, answer=RelaysView, ids="/relays/0/id"),
            route(PATH, self._create, "POST", summary="Create relay", **made),
            route(one, self._show, summary="Show relay", answer=view),
            route(one, self._change, "PATCH", summary="Change relay", **change),
            route(one, self._delete, "DELETE", summary="Delete relay", answer=view, guarded=True),
            route(one + "/drain", self._drain, "POST", summary="Drain relay", answer=view, guarded=True),
            route(one + "/undrain", self._undrain, "POST", summary="Undrain relay", answer=view, guarded=True),
        ]

    async def _derp_map(self, request: Request) -> Any:
        return derp_map.render(self._administration.all())

    async def _list(self, request: Request, page: Page) -> Any:
        relays, after = paged(self._administration.all(), page)
        return RelaysView(relays=tuple(map(self._view, relays)), next=after)

    async def _show(self, request: Request) -> Any:
        return self._shown(self._administration.relay(request.path_params["id"]))

    async def _create(self, request: Request, order: Order) -> Any:
        def render(relay: Relay, secret: str) -> CreatedRelay:
            return CreatedRelay(relay=self._new(relay), token=self._token(secret))

        return await self._administration.create_as(order, render)

    async def _change(self, request: Request, alteration: Alteration) -> Any:
        return self._shown(await self._administration.change(self._meant(request), alteration))

    async def _drain(self, request: Request) -> Any:
        return self._shown(await self._administration.drain(self._meant(request), True))

    async def _undrain(self, request: Request) -> Any:
        return self._shown(await self._administration.drain(self._meant(request), False))

    async def _delete(self, request: Request) -> Any:
        return self._view(await self._administration.delete(self._meant(request)))

    def _meant(self, request: Request) -> str:
        """The relay that is to be changed, unless it is another than the caller saw."""
        relay = self._administration.relay(request.path_params["id"])
        expect(relay)
        return str(relay.id)

    def _shown(self, relay: Relay) -> RelayView:
        shows(relay)
        return self._view(relay)

    def _new(self, relay: Relay) -> RelayView:
        """A relay that nobody can know yet."""
        return _relay_view(relay, state=self._state(relay), nodes=0, takers=0, load=(None, None, ""))

    def _view(self, relay: Relay) -> RelayView:
        homes = self._relays.homes
        nodes, takers = homes.count(relay.id), homes.takers(relay.id)
        return _relay_view(relay, state=self._state(relay), nodes=nodes, takers=takers, load=self._load(relay))

    def _state(self, relay: Relay) -> str:
        if relay.source == records.DERP_MAP:
            return "unwatched"
        if relay.source == records.ENROLLED and relay.machine_key is None:
            return "token expired" if relay.expires is not None and relay.expires <= self._now() else "waiting"
        return "connected" if self._relays.is_connected(relay) else "away"

    def _load(self, relay: Relay) -> tuple[int | None, int | None, str]:
        """Clients, bytes a second, version; as far as they are known."""
        session = self._relays.session_of(relay.id)
        if session is None:
            return None, None, ""
        rate = session.bytes_per_second if relay.source == records.ENROLLED else None
        return session.clients, rate, session.version


def _relay_view(
    relay: Relay, *, state: str, nodes: int, takers: int, load: tuple[int | None, int | None, str]
) -> RelayView:
    clients, bytes_per_second, version = load
    fields: dict[str, Any] = {name: getattr(relay, name) for name in _PLAIN}
    return RelayView(
        **fields,
        region=Named(id=relay.region, name=relay.region_name),
        state=state,
        token_expires=relay.expires if relay.machine_key is None else None,
        nodes=nodes,
        takers=takers,
        clients=clients,
        bytes_per_second=bytes_per_second,
        version=version,
    )
