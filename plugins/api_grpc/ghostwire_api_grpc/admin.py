"""The service Admin: each method is one route of the REST API, called within the server."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from ghostwire import ServerContext
from ghostwire.capabilities.control import ApiCall
from ghostwire_api_grpc import protos
from ghostwire_api_grpc.callers import bearer, caller
from ghostwire_api_grpc.conversion import fill, read
from ghostwire_api_grpc.statuses import Failure

API = "/api/v1"
MAX_REQUEST = 15 * 1024 * 1024
"""Bytes of a message whose caller's key is known: the largest policy fits, and the front door lets a little more
through. Routes have narrower limits of their own; of other callers nothing is read."""


class Route(NamedTuple):
    """A route's method and path; what its path names is taken out of the request."""

    method: str
    path: str


def _all(name: str, path: str, *verbs: str) -> dict[str, Route]:
    """The usual methods of a kind: ``Get`` of one by id or name, and so on."""
    methods = {"Get": "GET", "Change": "PATCH", "Delete": "DELETE"}
    return {verb + name: Route(methods[verb], path + "/{id}") for verb in verbs}


ROUTES: dict[str, Route] = {
    "GetServer": Route("GET", "/server"),
    "ListUsers": Route("GET", "/users"),
    "CreateUser": Route("POST", "/users"),
    **_all("User", "/users", "Get", "Change", "Delete"),
    "ListNodes": Route("GET", "/nodes"),
    **_all("Node", "/nodes", "Get", "Change", "Delete"),
    "ExpireNode": Route("POST", "/nodes/{id}/expire"),
    "ListPreAuthKeys": Route("GET", "/preauthkeys"),
    "CreatePreAuthKey": Route("POST", "/preauthkeys"),
    "RevokePreAuthKey": Route("POST", "/preauthkeys/{id}/revoke"),
    "ListApiKeys": Route("GET", "/apikeys"),
    "CreateApiKey": Route("POST", "/apikeys"),
    **_all("ApiKey", "/apikeys", "Get", "Delete"),
    "ListRelays": Route("GET", "/relays"),
    "CreateRelay": Route("POST", "/relays"),
    **_all("Relay", "/relays", "Get", "Change", "Delete"),
    "DrainRelay": Route("POST", "/relays/{id}/drain"),
    "UndrainRelay": Route("POST", "/relays/{id}/undrain"),
    "GetDerpMap": Route("GET", "/derpmap"),
    "ListRoutes": Route("GET", "/routes"),
    "ApproveRoutes": Route("POST", "/routes/approve"),
    "RejectRoutes": Route("POST", "/routes/reject"),
    "DeleteRoutes": Route("POST", "/routes/delete"),
    **_all("Route", "/routes", "Get", "Delete"),
    "ApproveRoute": Route("POST", "/routes/{id}/approve"),
    "RejectRoute": Route("POST", "/routes/{id}/reject"),
    "GetPolicy": Route("GET", "/policy"),
    "SetPolicy": Route("PUT", "/policy"),
    "CheckPolicy": Route("POST", "/policy/check"),
    "TestPolicy": Route("POST", "/policy/test"),
    "ExplainPolicy": Route("POST", "/policy/explain"),
    "RollbackPolicy": Route("POST", "/policy/rollback"),
    "ListPolicyVersions": Route("GET", "/policy/history"),
    "GetPolicyVersion": Route("GET", "/policy/history/{number}"),
}
"""Which method is which route."""


class Admin:
    """Methods by their names in the .proto, as functions of request and call."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    def unary(self) -> dict[str, Callable[[Any, Any], Awaitable[Any]]]:
        """All of them."""
        return {name: self._method(name, route) for name, route in ROUTES.items()}

    def _method(self, name: str, route: Route) -> Callable[[Any, Any], Awaitable[Any]]:
        answered = protos.kind(protos.ADMIN.methods_by_name[name].output_type.name)

        async def call(request: Any, context: Any) -> Any:
            client = caller().address
            made = as_call(route, read(request))
            answer = await self._context.administer(made, bearer(context.request_headers), client)
            if answer.status >= 400:
                raise Failure.of_answer(answer.status, _decoded(answer.body), answer.headers.get("retry-after", ""))
            return _as_message(answered, answer.body)

        return call


def as_call(route: Route, fields: dict[str, Any]) -> ApiCall:
    """The request of the REST API: fields become path, query, headers and body, as the route has them."""
    path = API + re.sub(r"{(\w+)}", lambda found: _segment(fields, found[1]), route.path)
    headers = _headers(fields)
    query = {"force": ""} if fields.pop("force", False) else {}
    if route.method == "GET":
        query |= {name: value for name, value in fields.items() if value not in ("", 0)}
        fields = {}
    body = msgspec.json.encode(fields) if route.method != "DELETE" and route.method != "GET" else b""
    return ApiCall(route.method, path + ("?" + urlencode(query) if query else ""), body, headers)


def _segment(fields: dict[str, Any], name: str) -> str:
    """A part of the path; an empty one would be another route."""
    text = quote(str(fields.pop(name, "")), safe="")
    return text if text.strip(".") else quote(text.replace(".", "%2E") or " ")


def _headers(fields: dict[str, Any]) -> dict[str, str]:
    headers = {}
    if key := fields.pop("idempotency_key", ""):
        headers["idempotency-key"] = key
    if "replaces" in fields:
        headers["if-match"] = f'"{fields.pop("replaces")}"'
    if "if_match" in fields:
        headers["if-match"] = fields.pop("if_match")
    return headers


def _as_message(kind: Any, body: bytes) -> Any:
    if kind.DESCRIPTOR.name == "Document":
        return kind(json=body.decode())
    return fill(kind(), _decoded(body))


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
