"""JSON routes for whoever provides `Routes`: each says what it takes and answers, and the document says it after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ghostwire.frontdoor.bodies import MAX_BODY, body_of, caller, error_response, json_response
from ghostwire.frontdoor.conditions import STALE, expect, shows
from ghostwire.frontdoor.operations import ApiRoute, Endpoint, Operation
from ghostwire.frontdoor.paging import MAX_PAGE, Listing, Page, paged

__all__ = [
    "MAX_BODY",
    "MAX_PAGE",
    "NAME_OR_ID",
    "NUMBER",
    "STALE",
    "Listing",
    "Page",
    "body_of",
    "caller",
    "error_response",
    "expect",
    "json_response",
    "paged",
    "route",
    "shows",
]

NAME_OR_ID = {"type": "string", "minLength": 1, "description": "A name or an id."}
NUMBER = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "description": "An id."}


def route(path: str, endpoint: Endpoint, method: str = "GET", **described: Any) -> ApiRoute:
    """A route whose endpoint gives a JSON-able value or a Response of its own, or raises a GhostwireError.

    ``described`` are fields of `Operation`. Without a ``summary`` it is in no document, and reads its query itself.
    """
    safe = described.pop("safe", method in ("GET", "HEAD"))
    paths: Mapping[str, Any] = {"id": NAME_OR_ID, **described.pop("paths", {})}
    return ApiRoute(Operation(path=path, method=method, safe=safe, paths=paths, **described), endpoint)
