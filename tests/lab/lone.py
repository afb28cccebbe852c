"""Our node daemon where there is no server: who it is and whom it knows stands in its map cache, as after a restart.

Nothing else about it is made up: `ghostwire client`, its transports, tunnel, disco, discovery, netcheck and gwctl.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from natlab import Lab
from programs import Node, wait_for

from ghostwire.folders import make_folder
from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey, write_private
from ghostwire.model import Cursor, Endpoint, LabelSet, MapChange, MapNode, MapRelay, Rule
from ghostwire.node.cache import Cached, MapCache
from ghostwire.node.identity import Identity, Membership
from ghostwire.wire.messages import PROTOCOL, Welcome

_CONTROL_KEY = ControlKey(bytes([7] * 32))
_NOWHERE = "https://10.50.0.250:8080"
OWN, PEER = 1, 2
"""The nodes' ids in the map."""


class LoneNode(Node):
    """A node of the lab with these keys that is at home in the one relay's region, and knows this one peer."""

    def __init__(self, lab: Lab, member: str, folder: Path, node_key: PrivateKey, disco_key: PrivateKey) -> None:
        super().__init__(lab, member, folder)
        self.node_key, self.disco_key = node_key, disco_key

    def know(self, address: str, relay: MapRelay, peer: MapNode, *endpoints: str) -> None:
        """Write the state folder: this node has this IPv6 address, the peer was at these UDP endpoints of late, and
        everybody may do everything."""
        folder = make_folder(self.state, 0o755)
        node = make_folder(folder / "node", 0o700)
        for name, key in (("node.key", self.node_key), ("disco.key", self.disco_key)):
            write_private(node / name, key.raw.hex().encode() + b"\n")
        identity = Identity(node, os.urandom)
        identity.remember(Membership(url=_NOWHERE, control_key=_CONTROL_KEY))
        own = map_node(OWN, self.member, self.node_key.public(NodeKey), self.disco_key.public(DiscoKey), address, relay)
        cached = self._cached(own, peer, relay, tuple(Endpoint("udp", text) for text in endpoints))
        asyncio.run(_write(node / "map.cache", cached))

    def _cached(self, own: MapNode, peer: MapNode, relay: MapRelay, endpoints: tuple[Endpoint, ...]) -> Cached:
        everyone = LabelSet(id=0, everyone=True)
        everything = Rule(id=1, sources=(0,), destinations=(0,))
        return Cached(
            control_key=_CONTROL_KEY,
            node_key=own.node_key,
            welcome=Welcome(protocol=PROTOCOL, node=own, domain="mesh.local"),
            map=MapChange(
                cursor=Cursor(1, bytes(8)),
                full=True,
                nodes=(own, peer),
                rules=(everything,),
                sets=(everyone,),
                own_labels=(0,),
                relays=(relay,),
            ),
            endpoints={peer.id: endpoints},
        )

    def run(self) -> None:
        """Start it, and wait until it is up and at its relay."""
        self.start()
        wait_for(f"{self.member} is up", lambda: self.status()["state"] == "running")
        wait_for(f"{self.member} is at its relay", lambda: self.home().get("connected"))

    def way(self) -> str:
        """``direct ENDPOINT``, ``relay`` or ``none``: how it sends to its peer."""
        path = self.status()["peers"][0]["path"]
        if path is None:
            return "none"
        return "relay" if path["relayed"] else f"direct {path['endpoint']}"

    def candidates(self) -> list[dict[str, Any]]:
        """The ways to its peer, as path choice explains them."""
        name = self.status()["peers"][0]["name"]
        found: list[dict[str, Any]] = json.loads(self.gwctl("debug", "paths", name, "--json"))["candidates"]
        return found

    def explained(self) -> str:
        """What gwctl says of its choice."""
        return self.gwctl("debug", "paths", self.status()["peers"][0]["name"])


def map_node(id_: int, name: str, key: NodeKey, disco: DiscoKey, address: str, relay: MapRelay) -> MapNode:
    """A node of the map with one IPv6 address, at home in this relay's region."""
    return MapNode(
        id=id_,
        stable_id=f"n{id_}",
        name=name,
        node_key=key,
        disco_key=disco,
        addresses=(address,),
        user=1,
        home=relay.region,
    )


async def _write(path: Path, cached: Cached) -> None:
    cache = MapCache(path, lambda: cached, logging.getLogger("lab"))
    cache.changed()
    cache.flush()
