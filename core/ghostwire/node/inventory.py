"""The local API's answers to which code runs and by which settings, both as they were when the daemon started."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from ghostwire import __version__
from ghostwire.node.localapi import Routes


def inventory_routes(plugins: Sequence[Mapping[str, Any]], file: str, settings: Mapping[str, Any]) -> Routes:
    """``GET /v1/plugins`` and ``GET /v1/config``: what `ghostwire.plugins.inventory` and `ghostwire.plugins.effective`
    said at the start, and the path of the configuration's file (empty: there was none)."""
    answer = {
        "version": __version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "plugins": list(plugins),
    }

    async def listed(_: bytes) -> Any:
        return answer

    config = {"file": os.path.abspath(file) if file else "", "settings": settings}

    async def configured(_: bytes) -> Any:
        return config

    return {("GET", "/v1/plugins"): listed, ("GET", "/v1/config"): configured}
