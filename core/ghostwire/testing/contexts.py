"""Contexts for tests of plugins: real sockets and clock, a state folder of the test's, and stand-ins for the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ghostwire import Context, Metrics
from ghostwire.keys import NodeKey
from ghostwire.model import NetworkMap
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets

C = TypeVar("C", bound=Context)


def make_context(kind: type[C], state: Path, settings: Any = None, **given: Any) -> C:
    """A context of this kind, each field as given or with a plain default: the loopback's addresses, an empty map.

    What has no default (a server's ``mesh``, say) is None unless it is given.
    """
    fields: dict[str, Any] = {
        "settings": settings,
        "clock": SystemClock(),
        "entropy": os.urandom,
        "metrics": Metrics(),
        "log": logging.getLogger("ghostwire.testing"),
        "sockets": SystemSockets(),
        "state": state,
        "node_key": NodeKey(bytes(31) + b"\1"),
        "map": NetworkMap(),
        "local_addresses": _loopback,
        "failed": lambda reason: None,
    }
    fields.update(given)
    made: Any = kind
    context: C = made(**{name: fields.get(name) for name in kind.__struct_fields__})
    return context


def _loopback() -> Sequence[str]:
    return ["127.0.0.1"]
