"""Relays over the API: what administrators see of them and do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.capabilities.relaying import Load
from ghostwire.frontdoor.rest import body_of, route
from ghostwire.model import Relay
from ghostwire.server.relays import derp_map, records
from ghostwire.server.relays.administration import Alteration, Order, RelayAdministration
from ghostwire.server.relays.relays import Relays

PATH = "/api/v1/relays"

_PLAIN = [name for name in Relay.__struct_fields__ if name not in ("digest", "expires", "region", "region_name")]


class RelayRoutes(Routes):
    """``own_load`` is what the server's own relay carries; ``token(secret)`` the join token of a new relay's secret."""

    name = "relays"

    def __init__(
        self,
        administration: RelayAdministration,
        relays: Relays,
        own_load: Callable[[], Load | None],
        token: Callable[[str], str],
        now: Callable[[], int],
    ) -> None:
        self._administration, self._relays, self._own_load = administration, relays, own_load
        self._token, self._now = token, now

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """List, make, change, drain, delete; and all of them as a DERP map."""
        return [
            route("/api/v1/derpmap", self._derp_map),
            route(PATH, self._list),
            route(PATH, self._create, "POST"),
            route(PATH + "/{id}", self._show),
            route(PATH + "/{id}", self._change, "PATCH"),
            route(PATH + "/{id}", self._delete, "DELETE"),
            route(PATH + "/{id}/drain", self._drain, "POST"),
            route(PATH + "/{id}/undrain", self._undrain, "POST"),
        ]

    async def _derp_map(self, request: Request) -> Any:
        return derp_map.render(self._administration.all())

    async def _list(self, request: Request) -> Any:
        return {"relays": [self._view(relay) for relay in self._administration.all()]}

    async def _show(self, request: Request) -> Any:
        return self._view(self._administration.relay(request.path_params["id"]))

    async def _create(self, request: Request) -> Any:
        relay, secret = await self._administration.create(await body_of(request, Order))
        return {"relay": self._view(relay), "token": self._token(secret)}

    async def _change(self, request: Request) -> Any:
        alteration = await body_of(request, Alteration)
        return self._view(await self._administration.change(request.path_params["id"], alteration))

    async def _drain(self, request: Request) -> Any:
        return self._view(await self._administration.drain(request.path_params["id"], True))

    async def _undrain(self, request: Request) -> Any:
        return self._view(await self._administration.drain(request.path_params["id"], False))

    async def _delete(self, request: Request) -> Any:
        return self._view(await self._administration.delete(request.path_params["id"]))

    def _view(self, relay: Relay) -> dict[str, Any]:
        """A relay with what is known of it now.

        ``nodes`` are those whose home it is to be, ``takers`` the others of its region that could take them.
        """
        homes = self._relays.homes
        return {
            **{name: getattr(relay, name) for name in _PLAIN},
            "region": {"id": relay.region, "name": relay.region_name},
            "state": self._state(relay),
            "token_expires": relay.expires if relay.machine_key is None else None,
            "nodes": homes.count(relay.id),
            "takers": homes.takers(relay.id),
            **self._load(relay),
        }

    def _state(self, relay: Relay) -> str:
        """``connected`` or ``away``; ``waiting`` for its token's use, or for a new one: ``token expired``.

        ``unwatched``: a relay of the DERP map, of which the server hears nothing.
        """
        if relay.source != records.ENROLLED:
            return "connected" if relay.source == records.EMBEDDED else "unwatched"
        if relay.machine_key is None:
            return "token expired" if relay.expires is not None and relay.expires <= self._now() else "waiting"
        return "connected" if self._relays.sessions.get(relay.id) else "away"

    def _load(self, relay: Relay) -> dict[str, Any]:
        session = self._relays.sessions.get(relay.id)
        if session is not None:
            return {**msgspec.structs.asdict(session.load), "version": session.version}
        own = self._own_load() if relay.source == records.EMBEDDED else None
        return {"clients": own.clients if own else None, "bytes_per_second": None, "version": ""}
