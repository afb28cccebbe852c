"""Who may call an administrators' route: the front door's local administrators, and holders of an API key."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from ghostwire.errors import AuthenticationFailed, GhostwireError, PermissionDenied
from ghostwire.frontdoor.bodies import error_response
from ghostwire.model import ApiKey

Admit = Callable[[str, str], ApiKey]
"""``admit(secret, client)``: the key whose secret this is, given by whoever calls from that address; a GhostwireError
says why nobody is let in."""
SAFE = frozenset({"GET", "HEAD"})
SCHEME = "bearer "


class AdminRoute(BaseRoute):
    """A route that only answers administrators; without ``admit`` no API key is known."""

    def __init__(self, route: BaseRoute, admit: Admit | None = None) -> None:
        self._route, self._admit = route, admit
        self.routes = [route]
        self.methods: set[str] = getattr(route, "methods", None) or set()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the route does."""
        return self._route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Has no name."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 401, 403 or 429."""
        try:
            self._check(scope)
        except GhostwireError as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._route.handle(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if is_admin(scope):
            return
        key = self._holder(scope)
        if key.read_only and not getattr(self._route, "safe", scope["method"] in SAFE):
            raise PermissionDenied(f"the API key {key.name} is read-only")
        scope["state"] |= {"admin": True, "key": key}

    def _holder(self, scope: Scope) -> ApiKey:
        given = Headers(scope=scope).get("authorization", "")
        if self._admit is None or not given:
            raise AuthenticationFailed("give an API key (Authorization: Bearer), or use gwctl on the server's machine")
        if given[: len(SCHEME)].lower() != SCHEME:
            raise AuthenticationFailed("give an API key as Authorization: Bearer gwapi-...")
        client = (scope.get("client") or ("", 0))[0]
        if scope.get("scheme") != "https" and not _is_loopback(client):
            raise PermissionDenied("an API key is taken over TLS alone, or from the server's own machine")
        return self._admit(given[len(SCHEME) :].strip(), client)


def is_admin(scope: Scope) -> bool:
    """Whether the caller is known for an administrator."""
    return scope.get("state", {}).get("admin", False) is True


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
