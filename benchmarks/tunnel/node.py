"""One end of our tunnel, from static keys: `python -m benchmarks.tunnel.node`, settings as one JSON line on stdin.

Prints ``ready`` once packets may flow and ends when stdin does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import sys
import tempfile
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import uvloop

from ghostwire import Metrics, NetworkConfig, NodeContext, Transport, TransportContext, TunnelContext, TunnelPeer
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Cursor, LabelSet, MapChange, MapNode, NetworkMap, Rule
from ghostwire.node.filter import MapFilter
from ghostwire.plugins.isolation.transport import IsolatedTransport
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire_net_linux.platform import LinuxPlatform
from ghostwire_net_linux.settings import Settings as PlatformSettings
from ghostwire_transport_wireguard.settings import Settings as TransportSettings
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel
from ghostwire_transport_wireguard.udp import UdpTransport

PEER = 1
_KEY = NodeKey(bytes(31) + b"1")


class NoEvents:
    def awake(self, peer: int) -> None: ...

    def wanted(self, peer: int) -> None: ...

    def authenticated(self, peer: int, source: object) -> None: ...

    def established(self, peer: int, source: object) -> None: ...


async def run(settings: dict[str, Any], state: FilePath) -> None:
    key = PrivateKey(bytes.fromhex(settings["private_key"]))
    log, metrics = logging.getLogger("tunnel"), Metrics()
    platform = LinuxPlatform(SimpleNamespace(settings=PlatformSettings(), log=log, metrics=metrics, state=state))  # type: ignore[arg-type]
    device = await platform.open_device(settings["interface"], settings["mtu"])
    shared: dict[str, Any] = {
        "clock": SystemClock(),
        "entropy": os.urandom,
        "metrics": metrics,
        "log": log,
        "sockets": SystemSockets(),
        "state": state,
        "node_key": key.public(NodeKey),
        "map": NetworkMap(),
        "local_addresses": platform.local_addresses,
    }
    udp = transport(settings, shared)
    tunnel = UserspaceTunnel(
        TunnelContext(
            settings=None, private_key=key, device=device, filter=policy(settings), events=NoEvents(), **shared
        )
    )
    await udp.start(tunnel.receive)
    await tunnel.start()
    allowed = ipaddress.ip_network(settings["peer_address"])
    tunnel.apply([TunnelPeer(PEER, NodeKey(bytes.fromhex(settings["peer_key"])), (allowed,))])
    tunnel.attach(PEER, [udp.path(settings["endpoint"])])
    await platform.configure(
        NetworkConfig(device.name, device.mtu, (f"{settings['address']}/32",), (settings["peer_address"],))
    )
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await tunnel.close()
    await udp.close()
    device.close()


def policy(settings: dict[str, Any]) -> MapFilter | None:
    """A filter by as many rules as are asked for, each for a port of its own but the last, which lets in all ports that
    programs listen on by themselves."""
    if not settings["rules"]:
        return None
    addresses = settings["peer_address"].partition("/")[0], settings["address"]
    nodes = tuple(
        MapNode(id=id_, stable_id="", name="", node_key=_KEY, disco_key=DiscoKey(_KEY.raw), addresses=(text,), user=1)
        for id_, text in enumerate(addresses, PEER)
    )
    ports = [(port, port) for port in range(1, 2 * settings["rules"] - 1, 2)] + [(1024, 65535)]
    rules = tuple(Rule(id=id_, sources=(1,), destinations=(2,), ports=(pair,)) for id_, pair in enumerate(ports, 1))
    made, network = MapFilter(SystemClock()), NetworkMap()
    sets = (LabelSet(id=1, nodes=(PEER,)),)
    change = MapChange(cursor=Cursor(1, b""), full=True, nodes=nodes, rules=rules, sets=sets, own_labels=(2,))
    network.apply(change)
    made.update(network, network.nodes[PEER + 1])
    return made


def transport(settings: dict[str, Any], shared: dict[str, Any]) -> Transport:
    """udp, in this process or, as a stranger's would be, in one of its own."""
    if settings["isolated"]:
        context = TransportContext(settings={"port": settings["port"]}, **shared)
        return IsolatedTransport("transport_wireguard", "udp", context)
    return UdpTransport(NodeContext(settings=TransportSettings(port=settings["port"]), **shared))


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as state:
        uvloop.run(run(settings, FilePath(state)))


if __name__ == "__main__":
    main()
