"""Both services behind the libraries that speak gRPC, gRPC-Web and Connect."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ghostwire import ServerContext
from ghostwire.errors import NotFound
from ghostwire.frontdoor.rest import error_response, json_response
from ghostwire.wire import api_errors
from ghostwire_api_grpc import admin, control, protos
from ghostwire_api_grpc.callers import admitted, barred
from ghostwire_api_grpc.codecs import Binary, Json
from ghostwire_api_grpc.sessions import SessionTable
from ghostwire_api_grpc.statuses import worded

_log = logging.getLogger("ghostwire.plugin.api_grpc")


class Services(ConnectASGIApplication[Any]):
    """One service of the .proto."""

    def __init__(self, descriptor: Any, unary: Mapping[str, Any], streams: Mapping[str, Any], limit: int) -> None:
        self._service_path = f"/{descriptor.full_name}"
        endpoints = {
            f"{self._service_path}/{method.name}": _endpoint(method, unary, streams) for method in descriptor.methods
        }
        self._paths = frozenset(endpoints)
        codecs: Any = [Binary(), Json()]
        super().__init__(
            service=self, endpoints=lambda _: endpoints, read_max_bytes=limit, compressions=[], codecs=codecs
        )

    @property
    def methods(self) -> frozenset[str]:
        """The paths of its methods."""
        return self._paths

    @property
    def path(self) -> str:
        """Where it is."""
        return self._service_path


class Application:
    """ASGI: Control and Admin. Of who has no session, or no API key, no more is looked at than that."""

    def __init__(self, context: ServerContext, sessions: SessionTable) -> None:
        def administrator(client: str, key: str) -> object:
            return context.admit(key, client)  # before any of its message is read

        self._entries: dict[str, Callable[[str, str], object]]
        self._entries = dict.fromkeys((f"/{protos.ADMIN.full_name}/{name}" for name in admin.ROUTES), administrator)
        self._entries |= {f"/{protos.CONTROL.full_name}/{name}": sessions.session for name in control.WITHIN}
        nodes, administration = control.Control(context, sessions), admin.Admin(context)
        self._services = {
            service.path: service
            for service in (
                Services(protos.CONTROL, nodes.unary(), {"Watch": nodes.watch}, control.MAX_REQUEST),
                Services(protos.ADMIN, administration.unary(), {}, admin.MAX_REQUEST),
            )
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; what the libraries make of a client's mistakes is no failure of ours."""
        service = self._services.get(scope["path"].rpartition("/")[0], self._services[f"/{protos.CONTROL.full_name}"])
        call: Any = unserved(scope, service.methods) or service
        try:
            if entry := self._entries.get(scope["path"]):
                receive = admitted(entry, scope, receive)
                if service is self._services[f"/{protos.ADMIN.full_name}"] and not barred():
                    scope["state"]["admin"] = True  # the front door's bound is an administrator's, too
            await call(scope, receive, send)
        except Exception as error:
            _log.debug("a call broke off: %s", error)


def unserved(scope: Scope, methods: frozenset[str]) -> Response | None:
    """The answer to a Connect call of nothing that we have, which the library leaves empty; gRPC's has a status."""
    kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    if kind.startswith("application/grpc"):
        return None
    if scope["path"] not in methods:
        return error_response(NotFound("no such method; see admin.proto and control.proto"))
    if not kind.startswith(("application/json", "application/proto", "application/connect+")):
        message = "the content type is not served here: use application/json, or application/proto"
        return json_response(api_errors.answer(415, "unsupported-media-type", message)[1], 415)
    return None


def _endpoint(method: Any, unary: Mapping[str, Any], streams: Mapping[str, Any]) -> Any:
    streaming = method.server_streaming
    info: MethodInfo[Any, Any] = MethodInfo(
        name=method.name,
        service_name=method.containing_service.full_name,
        input=protos.kind(method.input_type.name),
        output=protos.kind(method.output_type.name),
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.SERVER_STREAM if streaming else StreamType.UNARY,
    )
    if streaming:
        return Endpoint.server_stream(info, streams[method.name])
    return Endpoint.unary(info, _answering(unary[method.name]))


def _answering(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def answer(request: Any, context: Any) -> Any:
        with worded(context):
            return await function(request, context)

    return answer
