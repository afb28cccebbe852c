"""Administration of pre-auth keys over the server's API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ghostwire import Routes
from ghostwire.errors import NotFound
from ghostwire.frontdoor.rest import body_of, route
from ghostwire.model import PreAuthKey
from ghostwire_auth_key.issuing import Issuer, Order

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

PATH = "/api/v1/preauthkeys"


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
        return [
            route(PATH, self._list),
            route(PATH, self._create, "POST"),
            route(PATH + "/{id}/revoke", self._revoke, "POST"),
        ]

    async def _list(self, request: Request) -> Any:
        return {"keys": [self._view(key) for key in self._issuer.issued()]}

    async def _create(self, request: Request) -> Any:
        key, text = await self._issuer.issue(await body_of(request, Order))
        return {"key": self._view(key), "token": self._join_token(text)}

    async def _revoke(self, request: Request) -> Any:
        text = request.path_params["id"]
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise NotFound("a pre-auth key is named by its number; see: gwctl preauthkeys list")
        return {"key": self._view(await self._issuer.revoke(int(text)))}

    def _view(self, key: PreAuthKey) -> dict[str, Any]:
        owner = self._issuer.owner(key)
        return {
            "id": key.id,
            "user": {"id": key.user, "name": owner.name if owner else ""},
            "reusable": key.reusable,
            "ephemeral": key.ephemeral,
            "tags": key.tags,
            "created": key.created,
            "expires": key.expires,
            "uses": key.uses,
            "state": state(key, self._issuer.now()),
        }


def state(key: PreAuthKey, now: int) -> str:
    """``usable``, or why it admits nobody: ``used``, ``revoked``, ``expired``."""
    if key.uses and not key.reusable:
        return "used"
    if key.revoked:
        return "revoked"
    return "expired" if key.expires <= now else "usable"
