"""The local API's answer to which code runs: the daemon's versions, and its plugins as they were when it started."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from ghostwire import __version__
from ghostwire.node.localapi import Routes


def inventory_routes(plugins: Sequence[Mapping[str, Any]]) -> Routes:
    """``GET /v1/plugins``; ``plugins`` are what `ghostwire.plugins.inventory` said at the start."""
    answer = {
        "version": __version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "plugins": list(plugins),
    }

    async def listed(_: bytes) -> Any:
        return answer

    return {("GET", "/v1/plugins"): listed}
