"""The Starlette application: public routes for all, the others for administrators alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor import openapi, rest
from ghostwire.frontdoor.access import AdminRoute, Admit, is_admin
from ghostwire.frontdoor.bodies import json_response
from ghostwire.frontdoor.operations import ApiRoute, Operation, Receipts

__all__ = ["AdminRoute", "application", "is_admin"]

DOCUMENT = "/api/v1/openapi.json"
_ANSWERS = {
    404: ("not-found", "nothing is here"),
    405: ("method-not-allowed", "this method is not served here"),
    413: ("too-large", "the request's body is too large"),
}
"""Code and message of each status that Starlette or the front door gives."""


def application(
    parts: Iterable[Routes], admit: Admit | None = None, receipts: Receipts | None = None, release: str = ""
) -> Starlette:
    """One application of all parts' routes, and the document of those for administrators.

    ``admit`` knows the API keys and ``receipts`` what was answered, where there are any.
    """
    found = list(parts)
    ours = [route for part in found for route in part.admin()]
    if ours:
        operations = [route.operation for route in ours if isinstance(route, ApiRoute)]
        ours.append(_document(operations, release))
    routes: list[BaseRoute] = [route for part in found for route in part.public()]
    routes += [AdminRoute(route, admit) for route in ours]
    app = Starlette(routes=routes, exception_handlers={**dict.fromkeys(_ANSWERS, _http_error), 500: _failed})
    app.router.redirect_slashes = False  # to a URL without TLS, say, where a proxy ends that; and with the key
    app.state.receipts = receipts
    return app


def _document(operations: Sequence[Operation], release: str) -> ApiRoute:
    @cache
    def made() -> dict[str, Any]:
        return openapi.document([*operations, route.operation], release)

    async def answer(request: Request) -> Any:
        return made()

    route = rest.route(DOCUMENT, answer, summary="Show OpenAPI document")
    return route


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _ANSWERS[error.status_code]
    response = json_response({"error": {"code": code, "message": message}}, error.status_code)
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """What is served at the request's path."""
    there = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in there for method in getattr(route, "methods", None) or ()}


async def _failed(request: Request, error: Exception) -> Response:
    return json_response({"error": {"code": "internal", "message": "internal error; see the log"}}, 500)
