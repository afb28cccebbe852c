"""Where the services are on the port, and their end. The libraries are imported when the first call comes: few servers
ever see one, and they cost 10 MiB."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from ghostwire import Metrics, Routes, ServerContext, Service
from ghostwire.frontdoor.rest import error_response
from ghostwire_api_grpc.callers import refusal, told
from ghostwire_api_grpc.sessions import SessionTable

if TYPE_CHECKING:
    from ghostwire_api_grpc.application import Application

PREFIX = "/ghostwire.v1."


class GrpcRoutes(Routes):
    """Every method is a POST to ``/ghostwire.v1.SERVICE/METHOD``."""

    name = "grpc"
    http2 = True

    def __init__(self, context: ServerContext) -> None:
        self._route = GrpcRoute(context, sessions_of(context))

    def public(self) -> Sequence[BaseRoute]:
        """All of it: each service asks its callers who they are."""
        return [self._route]

    def admin(self) -> Sequence[BaseRoute]:
        """None."""
        return []


class GrpcRoute(BaseRoute):
    """Hands calls to the application."""

    def __init__(self, context: ServerContext, sessions: SessionTable) -> None:
        self._context, self._sessions = context, sessions
        self.path = PREFIX + "{service}/{method}"

    @cached_property
    def _application(self) -> Application:
        from ghostwire_api_grpc.application import Application

        return Application(self._context, self._sessions)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """By the path's beginning."""
        mine = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        return (Match.FULL if mine else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Has no name."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say in the API's words why no protocol here can."""
        if error := refusal(scope):
            await error_response(error)(scope, receive, send)
            return
        with told(scope, self._context.settings.behind_proxy):
            await self._application(scope, receive, send)


class GrpcService(Service):
    """Ends all sessions, so that nobody waits for their streams when the port closes."""

    name = "grpc"

    def __init__(self, context: ServerContext) -> None:
        self._sessions = sessions_of(context)

    async def start(self) -> None:
        """Nothing: the port is the server's."""

    async def close(self) -> None:
        """Tell everyone to come again, and wait until they have heard, for a moment."""
        self._sessions.hang_up()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._sessions.ended(), 2.0)


_sessions: WeakKeyDictionary[Metrics, SessionTable] = WeakKeyDictionary()
"""Of each server in this process, known by its metrics: routes and service are made apart."""


def sessions_of(context: ServerContext) -> SessionTable:
    """The sessions of this server."""
    found = _sessions.get(context.metrics)
    if found is None:
        found = _sessions[context.metrics] = SessionTable(context)
    return found
