"""How the ways of packets are named for people: over which transport, to which endpoint or through which relay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def way(path: Mapping[str, Any]) -> tuple[str, str]:
    """A path's transport and where it leads: over a relay its region and, where that is known, the relay."""
    transport: str = path.get("transport", "-")
    if not path.get("relayed"):
        return transport, path.get("endpoint", "-")
    return f"{transport} (relayed)", f"relay {relay(path.get('region'), path.get('relay'))}"


def over(path: Mapping[str, Any]) -> str:
    """The same in a sentence: ``udp 192.0.2.7:41641`` or ``relay fra (fra1)``."""
    transport, where = way(path)
    return where if path.get("relayed") else f"{transport} {where}"


def relay(region: str | None, name: str | None) -> str:
    """A region and, where that is known, the relay there."""
    return f"{region or '?'} ({name})" if name else region or "not known"


def milliseconds(value: float | None) -> str:
    """A round trip; ``-`` where it is not known."""
    return "-" if value is None else f"{value:.1f} ms"
