"""API keys over the API: made by local administrators and by holders of full keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.rest import body_of, caller, route
from ghostwire.model import ApiKey
from ghostwire.server.api_keys import MAX_TTL, ApiKeys

PATH = "/api/v1/apikeys"


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. ``ttl_seconds`` 0: it does not end by itself."""

    name: str
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_TTL)] = 0
    read_only: bool = False


class ApiKeyRoutes(Routes):
    """List, make, delete."""

    name = "apikeys"

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """List, make, look at, delete."""
        return [
            route(PATH, self._list),
            route(PATH, self._create, "POST"),
            route(PATH + "/{id}", self._show),
            route(PATH + "/{id}", self._delete, "DELETE"),
        ]

    async def _list(self, request: Request) -> Any:
        return {"keys": [self._view(key) for key in self._keys.all()]}

    async def _create(self, request: Request) -> Any:
        order = await body_of(request, NewApiKey)

        def render(key: ApiKey, secret: str) -> Any:
            return {"key": self._view(key), "secret": secret}

        ttl, read_only = order.ttl_seconds, order.read_only
        return await self._keys.create(order.name, caller(request), ttl=ttl, read_only=read_only, render=render)

    async def _show(self, request: Request) -> Any:
        return self._view(self._keys.key(request.path_params["id"]))

    async def _delete(self, request: Request) -> Any:
        return self._view(await self._keys.delete(request.path_params["id"]))

    def _view(self, key: ApiKey) -> dict[str, Any]:
        return {
            "id": key.id,
            "name": key.name,
            "author": key.author,
            "created": key.created,
            "expires": key.expires,
            "expired": self._keys.expired(key),
            "read_only": key.read_only,
        }
