"""What net_linux offers: the `linux` platform."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire import Context, Platform, Provider, hookimpl
from ghostwire_net_linux.settings import Settings

LIBRARIES = ("pyroute2",)

__all__ = ["LIBRARIES", "Settings"]


def _create(context: Context) -> Platform:
    from ghostwire_net_linux.platform import LinuxPlatform

    return LinuxPlatform(context)


@hookimpl
def ghostwire_platforms() -> Iterator[Provider[Platform]]:
    """The Linux kernel's TUN devices, addresses and routes."""
    yield Provider("linux", _create)
