"""JSON for whoever provides `Routes`: bodies of a bounded size into typed values, errors into one shape."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ghostwire.errors import GhostwireError, Refused
from ghostwire.model import from_json, to_json
from ghostwire.system.users import name_of
from ghostwire.wire import api_errors

T = TypeVar("T")

MAX_BODY = 64 * 1024


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON, keys as their text."""
    return Response(to_json(value), status, media_type="application/json")


def error_response(error: GhostwireError) -> Response:
    """``{"error": {"code", "message"}}`` with the status that fits."""
    status, body = api_errors.encode(error)
    response = json_response(body, status)
    if isinstance(error, api_errors.TooMany) and error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def caller(request: Request) -> str:
    """The name of the local administrator or of the API key that asks; empty where it is neither."""
    state = request.scope.get("state", {})
    if "key" in state:
        return f"apikey:{state['key'].name}"
    uid = state.get("uid")
    return name_of(uid) if uid is not None else ""


async def body_of(request: Request, kind: type[T], *, limit: int = MAX_BODY) -> T:
    """The request's body, of at most so many bytes, as this type; Refused says which field is wrong."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise api_errors.TooLarge(f"the body is larger than {limit} bytes")
    try:
        value: T = _decoded(bytes(data) or b"{}", kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refused(f"the body is wrong: {error}", "malformed") from None
    return value


def _decoded(data: bytes, kind: Any) -> Any:
    try:
        return from_json(data, kind)
    except msgspec.ValidationError:
        return from_json(msgspec.json.encode(_whole(msgspec.json.decode(data))), kind)


def _whole(value: Any) -> Any:
    """The value with whole numbers for those that are written as 3.0: in JSON they are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value
