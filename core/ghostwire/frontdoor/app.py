"""The Starlette application: public routes for all, the others for administrators alone."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.access import AdminRoute, Admit, is_admin
from ghostwire.frontdoor.rest import json_response

__all__ = ["AdminRoute", "application", "is_admin"]

_ANSWERS = {
    404: ("not-found", "nothing is here"),
    405: ("method-not-allowed", "this method is not served here"),
    413: ("too-large", "the request's body is too large"),
}
"""Code and message of each status that Starlette or the front door gives."""


def application(parts: Iterable[Routes], admit: Admit | None = None) -> Starlette:
    """One application of all parts' routes; ``admit`` knows the API keys, where there are any."""
    found = list(parts)
    routes: list[BaseRoute] = [route for part in found for route in part.public()]
    routes += [AdminRoute(route, admit) for part in found for route in part.admin()]
    return Starlette(routes=routes, exception_handlers={**dict.fromkeys(_ANSWERS, _http_error), 500: _failed})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _ANSWERS[error.status_code]
    response = json_response({"error": {"code": code, "message": message}}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return json_response({"error": {"code": "internal", "message": "internal error; see the log"}}, 500)
