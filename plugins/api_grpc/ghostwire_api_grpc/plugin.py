"""What api_grpc offers: the services ``Control`` and ``Admin`` on the server's port."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Provider, Routes, ServerContext, Service, hookimpl
from ghostwire_api_grpc.settings import Settings

SERVER = ("server",)

__all__ = ["Settings", "ghostwire_routes", "ghostwire_services"]


@hookimpl
def ghostwire_routes() -> Iterator[Provider[Routes]]:
    """Both services."""
    yield Provider("grpc", create_routes, roles=SERVER)


@hookimpl
def ghostwire_services() -> Iterator[Provider[Service]]:
    """The end of all sessions before the port closes."""
    yield Provider("grpc", create_service, roles=SERVER)


def create_routes(context: ServerContext) -> Routes:
    """The routes; what answers them is loaded when the first call comes."""
    from ghostwire_api_grpc.routes import GrpcRoutes

    return GrpcRoutes(context)


def create_service(context: ServerContext) -> Service:
    """What ends the sessions."""
    from ghostwire_api_grpc.routes import GrpcService

    return GrpcService(context)
