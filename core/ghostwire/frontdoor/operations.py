"""The typed route table: what a route takes and answers, from which its requests are read and its document is made."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghostwire.errors import GhostwireError, NotFound, Refused
from ghostwire.frontdoor.bodies import MAX_BODY, body_of, caller, error_response, json_response
from ghostwire.frontdoor.conditions import Attendant, Receipt, Repeated, attending, tagged
from ghostwire.model import to_json

Endpoint = Callable[..., Awaitable[Any]]
KEY_HEADER, REPLAYED = "idempotency-key", "Idempotent-Replayed"
_log = logging.getLogger("ghostwire.frontdoor.http")


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a route does (``summary``) and takes: ``answer`` is the type that it gives, ``body`` and ``query`` those of
    what it is given after the request. It is ``safe`` if it changes nothing, so that read-only keys may call it;
    ``creates`` may come again under one Idempotency-Key; ``guarded`` heeds If-Match, which it ``must`` have or not.
    ``paths`` describe its path's parameters, in JSON Schema; ``errors`` are statuses of errors that it has besides;
    ``older`` query parameters that earlier releases took, which its endpoint looks for itself. ``ids`` is where its
    answer has the id of something that operations below its path take (a JSON pointer).
    """

    path: str
    method: str
    summary: str = ""
    answer: Any = dict[str, Any]
    body: Any = None
    query: Any = None
    safe: bool = False
    creates: bool = False
    guarded: bool = False
    must: bool = False
    limit: int = MAX_BODY
    media_type: str = "application/json"
    paths: Mapping[str, Mapping[str, Any]] = {}
    errors: tuple[int, ...] = ()
    older: tuple[str, ...] = ()
    ids: str = ""


class Receipts(Protocol):
    """Keeps receipts, for a time."""

    def of(self, caller: str, key: str, request: bytes) -> Receipt:
        """The receipt of this request (a digest of it) under the caller's key; Refused where the key is none."""


class ApiRoute(Route):
    """A route of the table. Its endpoint is called with the request, and with its typed body and query if it has any;
    it gives a JSON-able value or a Response of its own, or raises a GhostwireError."""

    def __init__(self, operation: Operation, endpoint: Endpoint) -> None:
        super().__init__(_template(operation), self._answer, methods=[operation.method])
        self.operation, self._call, self.safe = operation, endpoint, operation.safe

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._carried_out(request)
        except GhostwireError as error:
            response = error_response(error)
            if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
                _log.error("%s %s: %s", request.method, self.operation.path, error)
            return response

    async def _carried_out(self, request: Request) -> Response:
        operation, given = self.operation, await self._given(request)
        attendant = Attendant(request.headers.get("if-match") if operation.guarded else None)
        if operation.creates and KEY_HEADER in request.headers:
            receipt = self._receipt(request, given)
            if (answer := receipt.answer()) is not None:
                return _replayed(answer)
            attendant.receipt = receipt
        try:
            with attending(attendant):
                value = await self._called(request, given)
        except Repeated as repeated:
            return _replayed(repeated.answer)
        return self._response(request, value, attendant)

    async def _called(self, request: Request, given: list[Any]) -> Any:
        """What the endpoint gives. What it does not find another server may have made just now: then it looks again,
        once all is read that is stored."""
        catch_up = getattr(request.app.state, "catch_up", None) if self.operation.summary else None
        try:
            return await self._call(request, *given)
        except NotFound:
            if catch_up is None:
                raise
        await catch_up()
        return await self._call(request, *given)

    def _response(self, request: Request, value: Any, attendant: Attendant) -> Response:
        if attendant.answer is not None:
            return Response(attendant.answer, media_type="application/json")
        response = value if isinstance(value, Response) else json_response(value)
        wanted = self.operation.method == "GET" or attendant.shown is not None
        return tagged(request, response, attendant.shown) if wanted else response

    async def _given(self, request: Request) -> list[Any]:
        operation = self.operation
        given = [] if operation.body is None else [await body_of(request, operation.body, limit=operation.limit)]
        if not operation.summary:
            return given
        query = query_of(request, operation.query or NoQuery, operation.older)
        return given if operation.query is None else [*given, query]

    def _receipt(self, request: Request, given: list[Any]) -> Receipt:
        receipts: Receipts | None = getattr(request.app.state, "receipts", None)
        if receipts is None:
            raise Refused("no answers are kept here: leave Idempotency-Key out", "usage")
        asked = b"\n".join([request.method.encode(), request.url.path.encode(), *map(to_json, given)])
        return receipts.of(caller(request), request.headers[KEY_HEADER], hashlib.blake2s(asked).digest())


class NumberConvertor(Convertor[int]):
    """An id in a path: of at most 18 digits, so that whatever it says is a number that there may be."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        """As a number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """As in a path."""
        return str(value)


register_url_convertor("number", NumberConvertor())


def _template(operation: Operation) -> str:
    """The path as Starlette matches it."""
    path = operation.path
    for name, schema in operation.paths.items():
        if schema["type"] == "integer":
            path = path.replace(f"{{{name}}}", f"{{{name}:number}}")
    return path


def query_of(request: Request, kind: Any, older: Collection[str] = ()) -> Any:
    """The request's query as this type; Refused names the parameter that is unknown, wrong or there twice."""
    items = [(name, text) for name, text in request.query_params.multi_items() if name not in older]
    given = dict(items)
    if len(given) < len(items):
        raise Refused("the query is wrong: a parameter is there twice", "malformed")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the query is wrong: {error}".replace("field", "parameter"), "malformed") from None


def _replayed(answer: bytes) -> Response:
    return Response(answer, media_type="application/json", headers={REPLAYED: "true"})
