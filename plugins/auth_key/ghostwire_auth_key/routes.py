"""Administration of pre-auth keys over the server's API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ghostwire import Routes
from ghostwire.frontdoor.rest import NUMBER, Listing, Page, expect, paged, route
from ghostwire.model import PreAuthKey
from ghostwire_auth_key.issuing import Issuer, Order

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

PATH = "/api/v1/preauthkeys"


class Owner(msgspec.Struct, frozen=True):
    """A user by id and name."""

    id: int
    name: str


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A pre-auth key without its secret; ``state`` as `state` says."""

    id: int
    user: Owner
    reusable: bool
    ephemeral: bool
    tags: tuple[str, ...]
    created: int
    expires: int
    uses: int
    state: str


class KeysView(Listing, frozen=True, kw_only=True):
    """Pre-auth keys by id."""

    keys: tuple[KeyView, ...]


class CreatedKey(msgspec.Struct, frozen=True):
    """A new pre-auth key, and its join token, shown once."""

    key: KeyView
    token: str


class RevokedKey(msgspec.Struct, frozen=True):
    """A key that admits nobody any more."""

    key: KeyView


class KeyRoutes(Routes):
    """``join_token`` makes a join token of a key's secret."""

    name = "preauthkeys"

    def __init__(self, issuer: Issuer, join_token: Callable[[str], str]) -> None:
        self._issuer, self._join_token = issuer, join_token

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """List, make, revoke."""
        made: dict[str, Any] = {
            "body": Order,
            "answer": CreatedKey,
            "creates": True,
            "errors": (404,),
            "ids": "/key/id",
        }
        revoke: dict[str, Any] = {"answer": RevokedKey, "guarded": True, "paths": {"id": NUMBER}}
        return [
            route(PATH, self._list, summary="List pre-auth keys", query=Page, answer=KeysView, ids="/keys/0/id"),
            route(PATH, self._create, "POST", summary="Create pre-auth key", **made),
            route(PATH + "/{id}/revoke", self._revoke, "POST", summary="Revoke pre-auth key", **revoke),
        ]

    async def _list(self, request: Request, page: Page) -> Any:
        keys, after = paged(self._issuer.issued(), page)
        owners = self._issuer.owners()
        return KeysView(keys=tuple(self._view(key, owners.get(key.user, "")) for key in keys), next=after)

    async def _create(self, request: Request, order: Order) -> Any:
        def render(key: PreAuthKey, owner: str, text: str) -> CreatedKey:
            return CreatedKey(self._view(key, owner), self._join_token(text))

        return await self._issuer.issue_as(order, render)

    async def _revoke(self, request: Request) -> Any:
        id_ = request.path_params["id"]
        expect(self._issuer.key(id_))
        key = await self._issuer.revoke(id_)
        return RevokedKey(self._view(key, self._issuer.owners().get(key.user, "")))

    def _view(self, key: PreAuthKey, owner: str) -> KeyView:
        return KeyView(
            id=key.id,
            user=Owner(key.user, owner),
            reusable=key.reusable,
            ephemeral=key.ephemeral,
            tags=key.tags,
            created=key.created,
            expires=key.expires,
            uses=key.uses,
            state=state(key, self._issuer.now()),
        )


def state(key: PreAuthKey, now: int) -> str:
    """``usable``, or why it admits nobody: ``used``, ``revoked``, ``expired``."""
    if key.uses and not key.reusable:
        return "used"
    if key.revoked:
        return "revoked"
    return "expired" if key.expires <= now else "usable"
