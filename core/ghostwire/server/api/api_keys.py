"""API keys over the API: made by local administrators and by holders of full keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.rest import Listing, Page, caller, expect, paged, route, shows
from ghostwire.model import ApiKey
from ghostwire.server.api.views import View
from ghostwire.server.api_keys import MAX_TTL, ApiKeys
from ghostwire.server.texts import Label

PATH = "/api/v1/apikeys"


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. ``ttl_seconds`` 0: it does not end by itself."""

    name: Label
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_TTL)] = 0
    read_only: bool = False


class ApiKeyView(View, frozen=True):
    """An API key without its secret."""

    id: int
    name: str
    author: str
    created: int
    expires: int | None
    expired: bool
    read_only: bool


class ApiKeysView(Listing, frozen=True, kw_only=True):
    """API keys by id."""

    keys: tuple[ApiKeyView, ...]


class CreatedApiKey(View, frozen=True):
    """A new API key, and its secret, shown once."""

    key: ApiKeyView
    secret: str


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
        one, made = PATH + "/{id}", {"body": NewApiKey, "answer": CreatedApiKey, "creates": True, "ids": "/key/id"}
        return [
            route(PATH, self._list, summary="List API keys", query=Page, answer=ApiKeysView),
            route(PATH, self._create, "POST", summary="Create API key", **made),
            route(one, self._show, summary="Show API key", answer=ApiKeyView),
            route(one, self._delete, "DELETE", summary="Delete API key", answer=ApiKeyView, guarded=True),
        ]

    async def _list(self, request: Request, page: Page) -> Any:
        keys, after = paged(self._keys.all(), page)
        return ApiKeysView(keys=tuple(map(self._view, keys)), next=after)

    async def _create(self, request: Request, order: NewApiKey) -> Any:
        def render(key: ApiKey, secret: str) -> CreatedApiKey:
            return CreatedApiKey(key=self._view(key), secret=secret)

        ttl, read_only = order.ttl_seconds, order.read_only
        return await self._keys.create(order.name, caller(request), ttl=ttl, read_only=read_only, render=render)

    async def _show(self, request: Request) -> Any:
        key = self._keys.key(request.path_params["id"])
        shows(key)
        return self._view(key)

    async def _delete(self, request: Request) -> Any:
        key = self._keys.key(request.path_params["id"])
        expect(key)
        return self._view(await self._keys.delete(str(key.id)))

    def _view(self, key: ApiKey) -> ApiKeyView:
        return ApiKeyView(
            id=key.id,
            name=key.name,
            author=key.author,
            created=key.created,
            expires=key.expires,
            expired=self._keys.expired(key),
            read_only=key.read_only,
        )
