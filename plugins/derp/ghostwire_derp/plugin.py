"""What derp offers."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Provider, RelayContext, ServerContext, Service, hookimpl
from ghostwire_derp.settings import Settings

__all__ = ["Settings"]


def _stun(context: ServerContext | RelayContext) -> Service:
    from ghostwire_derp.stun import StunService

    return StunService(context)


@hookimpl
def ghostwire_services() -> Iterator[Provider[Service]]:
    """Tells nodes the address that their packets come from."""
    yield Provider("stun", _stun)
