"""The API's document, OpenAPI 3.1, made from the route table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ghostwire.frontdoor.operations import REPLAYED, Operation
from ghostwire.keys import PublicKey

VERSION = "v1"
SCHEMAS = "#/components/schemas/{name}"
_ALWAYS = (400, 401, 403, 429, 500, 503)
_TITLES = {
    400: "The request is malformed, or asks for what makes no sense.",
    401: "No API key, or a wrong one.",
    403: "The API key is read-only, or came over a way on which others can read it.",
    404: "Nothing has that name or id.",
    409: "The change contradicts what is there (a name taken, If-Match, Idempotency-Key).",
    413: "The body is larger than any that makes sense.",
    422: "The policy is wrong; `findings` say where.",
    429: "Too many wrong API keys.",
    500: "The server failed; its log says more.",
    503: "Not now; try again later.",
}
_ETAG = {"description": "What was seen, for If-None-Match and If-Match.", "schema": {"type": "string"}}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One place in a policy; both numbers count from 1, 0 where no place is known."""

    line: int
    column: int
    message: str


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """``code`` is a stable word for programs, ``message`` a line for people; ``findings`` come with a wrong policy."""

    code: str
    message: str
    findings: list[Fault] | msgspec.UnsetType = msgspec.UNSET


class Error(msgspec.Struct, frozen=True):
    """Why a request was refused."""

    error: ErrorDetail


def document(operations: Iterable[Operation], release: str) -> dict[str, Any]:
    """The document of these operations; those without a summary are left out."""
    shown = [each for each in operations if each.summary]
    types = list(dict.fromkeys(kind for each in shown for kind in (each.answer, each.body, each.query) if kind))
    made, components = msgspec.json.schema_components((Error, *types), schema_hook=_key, ref_template=SCHEMAS)
    schemas = dict(zip((Error, *types), made, strict=True))
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for each in shown:
        paths[each.path][each.method.lower()] = _described(each, schemas, components)
        paths[each.path][each.method.lower()]["responses"]["200"]["links"] = _links(each, shown)
    queries = {schemas[each.query]["$ref"].rpartition("/")[2] for each in shown if each.query}
    return {
        "openapi": "3.1.0",
        "info": {"title": "GhostWire", "version": VERSION, "description": f"Made by release {release}."},
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}],
        "paths": dict(paths),
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "gwapi-..."}},
        },
    }


def _described(operation: Operation, schemas: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _identifier(operation.summary),
        "summary": operation.summary,
        "tags": [operation.path.split("/")[3]],
        "parameters": list(_parameters(operation, schemas, components)),
        "responses": dict(_responses(operation, schemas)),
    }
    if operation.body is not None:
        body, required = schemas[operation.body], _component(schemas[operation.body], components).get("required")
        described["requestBody"] = {"required": bool(required), "content": {"application/json": {"schema": body}}}
    return described


def _parameters(
    operation: Operation, schemas: Mapping[Any, Any], components: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": operation.paths[name]}
    if operation.query is not None:
        query = _component(schemas[operation.query], components)
        for name, schema in query["properties"].items():
            yield {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
    yield from _headers(operation)


def _headers(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.creates:
        said = "Under one key a request is carried out once, and answered the same for a day."
        yield _header("Idempotency-Key", said, pattern="^[!-~]{16,128}$")
    if operation.guarded and operation.must:
        said = 'The version that this replaces, "0" for none; * for whichever is in force.'
        yield {**_header("If-Match", said, pattern=r'^(\*|(W/)?"?[0-9]{1,18}"?)$'), "required": True}
    elif operation.guarded:
        yield _header("If-Match", "Change it only if its ETag is still this one.")
    if operation.method == "GET" and operation.media_type == "application/json":
        yield _header("If-None-Match", "Answer 304 if its ETag is still this one.")


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _responses(operation: Operation, schemas: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    content = {operation.media_type: {"schema": schemas[operation.answer]}}
    headers = {"ETag": _ETAG} if operation.method == "GET" or operation.guarded else {}
    if operation.creates:
        headers = {REPLAYED: {"description": "It was carried out before.", "schema": {"type": "string"}}}
    yield "200", {"description": "Done.", "content": content, "headers": headers}
    if operation.method == "GET":
        yield "304", {"description": "As If-None-Match says."}
    for status in sorted(_statuses(operation)):
        refusal = {"application/json": {"schema": schemas[Error]}}
        yield str(status), {"description": _TITLES[status], "content": refusal}


def _links(operation: Operation, others: Iterable[Operation]) -> dict[str, Any]:
    """What can be done with the thing whose id its answer has."""
    takers = [each for each in others if operation.ids and each.path.startswith(operation.path + "/{")]
    names = {_identifier(each.summary): re.findall(r"{(\w+)}", each.path)[0] for each in takers}
    found = f"$response.body#{operation.ids}"
    return {id_: {"operationId": id_, "parameters": {name: found}} for id_, name in names.items()}


def _statuses(operation: Operation) -> set[int]:
    named = {404} if "{" in operation.path else set()
    changes = set() if operation.safe else {409}
    return {*_ALWAYS, *operation.errors, *named, *changes, *({413} if operation.body is not None else ())}


def _component(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    return components[reference.rpartition("/")[2]] if reference else schema


def _identifier(summary: str) -> str:
    first, *others = [match[0] for match in re.finditer("[A-Za-z0-9]+", summary)]
    return "".join([first.lower(), *(word[0].upper() + word[1:] for word in others)])


def _key(kind: type) -> dict[str, Any]:
    if issubclass(kind, PublicKey):
        return {"type": "string", "pattern": f"^{kind.prefix}[0-9a-f]{{64}}$"}
    raise NotImplementedError(f"{kind.__name__} has no schema")
