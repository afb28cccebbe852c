"""Feed a node's packet filter whatever atheris finds: python tests/fuzz/fuzz_filter.py [-runs=N]."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ghostwire.node"]):
    from ghostwire.keys import NodeKey
    from ghostwire.model import Cursor, LabelSet, MapChange, MapNode, MapRoute, NetworkMap, Rule
    from ghostwire.node import flows, shortcuts
    from ghostwire.node.filter import MapFilter
    from ghostwire.node.packet import parse
    from ghostwire.testing import ManualClock

OWN, PEER, ROUTER = (bytes((100, 64, 0, number)) for number in (1, 2, 3))
OTHER, BEHIND, OUTSIDE = bytes((100, 64, 0, 9)), bytes((10, 1, 0, 7)), bytes((8, 8, 8, 8))
PLACES = [OWN, PEER, ROUTER, OTHER, BEHIND, OUTSIDE]


def network() -> NetworkMap:
    """Node 1 is filtered; node 2 may come to its port 22, node 3 routes a subnet and is an exit."""
    nodes = [
        MapNode(
            id=number,
            stable_id=f"n{number}",
            name=f"n{number}",
            node_key=NodeKey(bytes([number] * 32)),
            disco_key=None,
            addresses=(f"100.64.0.{number}",),
            user=number,
        )
        for number in (1, 2, 3)
    ]
    rule = Rule(id=1, sources=(20,), destinations=(10,), protocols=(6,), ports=((22, 22),))
    routes = [MapRoute(id=1, prefix="10.1.0.0/16", router=3), MapRoute(id=2, prefix="0.0.0.0/0", router=3)]
    held = NetworkMap()
    change = MapChange(
        cursor=Cursor(1, b"m"),
        full=True,
        nodes=tuple(nodes),
        rules=(rule,),
        routes=tuple(routes),
        sets=(LabelSet(id=20, nodes=(2,)),),
        own_labels=(10,),
    )
    held.apply(change)
    return held


def ip(provider: atheris.FuzzedDataProvider, source: bytes, target: bytes, body: bytes) -> bytes:
    """An IPv4 packet, perhaps with options, perhaps a fragment."""
    options = provider.ConsumeBytes(4 * provider.ConsumeIntInRange(0, 3))
    options += bytes(-len(options) % 4)
    flags = provider.PickValueInList([0, 0, 0, 0x2000, 1, 0x2001, 200, 0x1FFF])
    protocol = provider.PickValueInList([1, 4, 6, 17, 41, 44, 47, 58, 132])
    head = bytes((0x45 + len(options) // 4, 0)) + (20 + len(options) + len(body)).to_bytes(2)
    return head + b"\0\1" + flags.to_bytes(2) + bytes((64, protocol, 0, 0)) + source + target + options + body


def body(provider: atheris.FuzzedDataProvider, depth: int = 0) -> bytes:
    """A transport header, or an ICMP error that quotes another packet."""
    if depth < 2 and provider.ConsumeBool():
        quoted = [provider.PickValueInList(PLACES) for _ in range(2)]
        kind = provider.PickValueInList([0, 3, 5, 8, 11, 12, 1, 2, 128, 129])
        return bytes((kind, 0, 0, 0, 0, 0, 0, 0)) + ip(provider, *quoted, body(provider, depth + 1))
    ports = provider.PickValueInList([0, 22, 80, 40000]), provider.PickValueInList([0, 22, 80, 40000])
    return b"".join(port.to_bytes(2) for port in ports) + provider.ConsumeBytes(20)


def one_input(data: bytes) -> None:
    """What no rule lets in and nobody asked for is never admitted, however it is dressed; all tables are bounded."""
    clock, held = ManualClock(), network()
    filter_ = MapFilter(clock)
    filter_.update(held, held.nodes[1])
    provider = atheris.FuzzedDataProvider(data)
    asked: set[bytes] = set()
    while provider.remaining_bytes():
        if provider.ConsumeIntInRange(0, 9) == 0:
            raw = provider.ConsumeBytes(300)
            parse(raw)
            filter_.admit(3, [raw])
            continue
        source, target = provider.PickValueInList(PLACES), provider.PickValueInList(PLACES)
        packet = ip(provider, source, target, body(provider))
        if provider.ConsumeIntInRange(0, 3) == 0:
            leaves = packet[:12] + OWN + target + packet[20:]
            filter_.record([leaves])
            asked.add(target)
            continue
        peer = provider.PickValueInList([2, 3, 9])
        admitted = filter_.admit(peer, [packet])
        if admitted:
            assert packet[16:20] == OWN
            assert peer != 9
            errs = packet[9] == 1
            assert source in asked or (errs and asked) or (peer == 2 and source == PEER and packet[9] in (1, 6))
        clock.advance(provider.ConsumeIntInRange(0, 10) * 1_000_000_000)
    assert len(filter_._flows) <= 2 * flows.CAPACITY
    assert len(filter_._shortcuts) <= shortcuts.CAPACITY


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
