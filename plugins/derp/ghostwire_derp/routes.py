"""What a relay answers over plain HTTP, as stock clients and stock relays ask it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from ghostwire import RelayContext, Routes, ServerContext
from ghostwire_derp.relay.shared import relay_of
from ghostwire_derp.verify import Verifier
from ghostwire_derp.websocket import serve

_CHALLENGE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_NO_CACHE = {"cache-control": "no-cache, no-store, max-age=0, must-revalidate"}
_ABOUT = """This is a GhostWire relay: it passes sealed packets on between nodes that cannot reach each other directly.
It speaks DERP; nodes come to /derp. It cannot read what it passes on.
"""


class DerpRoutes(Routes):
    """Latency checks and DERP over WebSockets; in the server also the question which nodes a stock relay may admit.

    The root page is the relay program's alone: the server's belongs to the server.
    """

    name = "derp"

    def __init__(self, context: ServerContext | RelayContext) -> None:
        self._context, self._relay = context, relay_of(context)

    def public(self) -> Sequence[BaseRoute]:
        """As clients know them."""
        routes: list[BaseRoute] = [
            Route("/derp", _upgrade_required),
            WebSocketRoute("/derp", self._websocket),
            Route("/derp/probe", _here),
            Route("/derp/latency-check", _here),
            Route("/generate_204", _no_content),
        ]
        if isinstance(self._context, ServerContext):
            verifier = Verifier(self._context.mesh, self._context.clock)
            return [*routes, Route("/verify", verifier.answer, methods=["POST"])]
        return [*routes, Route("/", _about)]

    def admin(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    async def _websocket(self, websocket: WebSocket) -> None:
        await serve(websocket, self._relay.attach)


async def _here(request: Request) -> Response:
    """Whoever cannot use UDP measures how long this takes."""
    return Response(headers={"access-control-allow-origin": "*"})


async def _no_content(request: Request) -> Response:
    """Whoever gets anything else sits behind a captive portal; the challenge unmasks one that answers 204 itself."""
    challenge = request.headers.get("x-tailscale-challenge", "")
    answer = {"x-tailscale-response": f"response {challenge}"} if _CHALLENGE.fullmatch(challenge) else {}
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={**_NO_CACHE, **answer})


async def _upgrade_required(request: Request) -> Response:
    headers = {"upgrade": "DERP", "connection": "upgrade"}
    return PlainTextResponse("DERP requires connection upgrade\n", HTTPStatus.UPGRADE_REQUIRED, headers)


async def _about(request: Request) -> Response:
    return PlainTextResponse(_ABOUT)
