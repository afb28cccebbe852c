"""What every request passes on its way to the app: its body is bounded, and a client that leaves is no failure."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication, ASGIReceiveCallable, ASGISendCallable, Scope

MAX_BODY = 1024 * 1024
"""Bytes of a request's body. Where the app reads more the answer is 413, and the rest is thrown away as it comes."""
MAX_ADMIN_BODY = 16 * 1024 * 1024
"""The same for administrators, whose routes have narrower limits of their own."""


def guarded(app: ASGIApplication) -> ASGIApplication:
    """The app behind the guard."""

    async def guard(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        with suppress(ClientDisconnect):
            await cast("Any", app)(scope, _bounded(receive, scope), send)

    return cast("Any", guard)  # type: ignore[no-any-return]


def _limit(scope: Scope) -> int:
    return MAX_ADMIN_BODY if cast("Any", scope).get("state", {}).get("admin") is True else MAX_BODY


def _bounded(receive: ASGIReceiveCallable, scope: Scope) -> ASGIReceiveCallable:
    """Who holds an API key is known for an administrator only once the app has looked at it."""
    taken = 0

    async def counted() -> Any:
        nonlocal taken
        message: Any = await receive()
        taken += len(message.get("body", b""))
        if taken > _limit(scope):
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return counted
