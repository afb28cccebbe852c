"""The map cache on disk: what a node needs to start and run while its server is away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from ghostwire.keys import ControlKey, NodeKey
from ghostwire.model import Endpoint, MapChange
from ghostwire.uplink.cache import Cache
from ghostwire.wire.messages import Welcome


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache holds: valid for this server and this node key only. ``endpoints`` are peers' last known ones."""

    control_key: ControlKey
    node_key: NodeKey
    welcome: Welcome
    map: MapChange
    endpoints: dict[int, tuple[Endpoint, ...]] = {}


class MapCache(Cache[Cached]):
    """The cache of ``contents()``, None where there is no map yet."""

    def __init__(self, path: Path, contents: Callable[[], Cached | None], log: logging.Logger) -> None:
        super().__init__(path, Cached, contents, log, "the map")

    def load_for(self, control_key: ControlKey, node_key: NodeKey) -> Cached | None:
        """What was stored for this server and node key; a damaged file is dropped with one log line."""
        cached = self.load()
        return cached if cached and (cached.control_key, cached.node_key) == (control_key, node_key) else None
