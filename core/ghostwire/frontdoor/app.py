"""The Starlette application: public routes for all, the others for administrators alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from ghostwire.capabilities.http import Routes
from ghostwire.errors import AuthenticationFailed
from ghostwire.frontdoor.rest import error_response, json_response

_ANSWERS = {
    404: ("not-found", "nothing is here"),
    405: ("method-not-allowed", "this method is not served here"),
    413: ("too-large", "the request's body is too large"),
}
"""Code and message of each status that Starlette or the front door gives."""


class AdminRoute(BaseRoute):
    """A route that only answers authenticated administrators."""

    def __init__(self, route: BaseRoute) -> None:
        self._route = route
        self.routes = [route]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the route does."""
        return self._route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Has no name."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 401."""
        if is_admin(scope):
            await self._route.handle(scope, receive, send)
            return
        error = AuthenticationFailed("administration is served on the Unix socket alone; use gwctl on the server")
        await error_response(error)(scope, receive, send)


def is_admin(scope: Scope) -> bool:
    """Whether the front door has authenticated the caller as an administrator."""
    return scope.get("state", {}).get("admin", False) is True


def application(parts: Iterable[Routes]) -> Starlette:
    """One application of all parts' routes."""
    found = list(parts)
    routes: list[BaseRoute] = [route for part in found for route in part.public()]
    routes += [AdminRoute(route) for part in found for route in part.admin()]
    return Starlette(routes=routes, exception_handlers={**dict.fromkeys(_ANSWERS, _http_error), 500: _failed})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _ANSWERS[error.status_code]
    response = json_response({"error": {"code": code, "message": message}}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return json_response({"error": {"code": "internal", "message": "internal error; see the log"}}, 500)
