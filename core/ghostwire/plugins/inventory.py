"""The list of installed plugins as programs read it: each with its version, and the hash of its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ghostwire.plugins import loader
from ghostwire.plugins.fingerprint import fingerprint
from ghostwire.plugins.host import Host


def inventory(host: Host) -> Sequence[dict[str, Any]]:
    """Every installed plugin as plain values: the fields of `PluginInfo`, with ``active``, ``isolated`` and ``hash``.

    ``active`` ones were chosen and could be used; ``isolated`` ones run in a process of their own.
    """
    modules = {name: plugin.entry.module for name, plugin in loader.installed().items()}
    return [
        {
            "isolated": False,
            **msgspec.structs.asdict(info),
            "active": info.selected and not info.error,
            "hash": fingerprint(modules[info.name]) if info.name in modules else "",
        }
        for info in host.report()
    ]
