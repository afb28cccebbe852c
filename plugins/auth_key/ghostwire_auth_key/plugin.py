"""What auth_key offers: the authenticator ``auth_key``, its API, and ``gwctl preauthkeys``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ghostwire import Authenticator, Command, Provider, Routes, ServerContext, hookimpl
from ghostwire_auth_key.settings import Settings

if TYPE_CHECKING:
    import click

LIBRARIES = ("starlette",)

__all__ = ["LIBRARIES", "Settings", "conformance", "ghostwire_authenticators", "ghostwire_commands", "ghostwire_routes"]


@hookimpl
def ghostwire_authenticators() -> Iterator[Provider[Authenticator]]:
    """Pre-auth keys let machines join."""
    yield Provider("auth_key", create_authenticator)


@hookimpl
def ghostwire_routes() -> Iterator[Provider[Routes]]:
    """Administration of pre-auth keys."""
    yield Provider("preauthkeys", create_routes)


@hookimpl
def ghostwire_commands() -> Iterator[Command]:
    """The same from the command line."""
    yield Command("gwctl", "preauthkeys", load_command, "Make, list and revoke pre-auth keys.")


def create_authenticator(context: ServerContext) -> Authenticator:
    """The authenticator."""
    from ghostwire_auth_key.authenticator import KeyAuthenticator

    return KeyAuthenticator(context.log)


def create_routes(context: ServerContext) -> Routes:
    """The API."""
    from ghostwire_auth_key.issuing import Issuer
    from ghostwire_auth_key.routes import KeyRoutes

    return KeyRoutes(Issuer(context.mesh, context.clock, context.entropy, context.settings), context.join_token)


def load_command() -> click.Command:
    """The click command."""
    from ghostwire_auth_key.command import preauthkeys

    return preauthkeys


def conformance(capability: str) -> type[object] | None:
    """The rules by which ``pytest --ghostwire-conformance`` judges this plugin."""
    if capability != "authenticator":
        return None
    from ghostwire_auth_key.conformance import KeyContract

    return KeyContract
