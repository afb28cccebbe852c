"""What routes cost where they are, and where they are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghostwire.model import Cursor, MapChange, MapRoute
from ghostwire.testing import simulated

LAN = "10.1.0.0/16"


@pytest.mark.parametrize("change", ["a node comes", "a home", "a route comes", "a router goes down"])
def test_what_a_change_costs_grows_neither_with_the_mesh_nor_with_its_routes(
    kit: Any, calls_of: Any, change: str
) -> None:
    """Counted in Python calls; two routers share a prefix, and there are others."""
    change_ = {
        "a node comes": {"nodes": (kit.map_node(251),)},
        "a home": {"nodes": (kit.map_node(3, home=5),)},
        "a route comes": {"routes": (MapRoute(id=900, prefix="10.99.0.0/16", router=3),)},
        "a router goes down": {"routes": (MapRoute(id=1, prefix=LAN, router=2, down=True),)},
    }[change]

    @simulated
    async def calls(peers: int, routes: int, within: str = "") -> int:
        rig = kit.rig()
        rig.server.answer = lambda hello: [kit.welcome(hello), _mesh(kit, hello, peers, routes)]
        node = await rig.joined()
        tell, cursor = node._member.received, Cursor(6, b"n")
        undo = MapChange(
            cursor=cursor, removed_nodes=(251,), removed_routes=(900,), routes=(MapRoute(id=1, prefix=LAN, router=2),)
        )
        tell(MapChange(cursor=cursor, **change_))
        tell(undo)
        found = calls_of(lambda: tell(MapChange(cursor=cursor, **change_)), within)
        await node.down(logout=True)
        await node.close()
        return found

    assert calls(10, 3) == calls(200, 3)
    assert calls(200, 3, within="/node/routing/") == calls(200, 103, within="/node/routing/")


def _mesh(kit: Any, hello: Any, peers: int, routes: int) -> MapChange:
    held = [MapRoute(id=1, prefix=LAN, router=2), MapRoute(id=2, prefix=LAN, router=3)]
    held += [MapRoute(id=n, prefix=f"10.2.{n}.0/24", router=4 + n % 5) for n in range(3, routes)]
    return msgspec.structs.replace(kit.full_map(hello, *range(2, 2 + peers)), routes=tuple(held))
