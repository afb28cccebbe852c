"""Feed control frames, and a node's map, whatever atheris finds: python tests/fuzz/fuzz_map.py [-runs=N]."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import atheris

with atheris.instrument_imports(include=["ghostwire.node", "ghostwire.wire", "ghostwire.server.routes"]):
    from ghostwire.errors import RemoteProtocolError
    from ghostwire.model import MapChange, MapNode, NetworkMap, pack
    from ghostwire.node.filter import MapFilter
    from ghostwire.node.routing.health import Signs
    from ghostwire.node.routing.router import Router
    from ghostwire.server.routes.offers import Word, read
    from ghostwire.server.routes.rules import Rules
    from ghostwire.testing import ManualClock
    from ghostwire.wire.messages import MAX_ROUTES, Report, decode_to_node, decode_to_server
    from ghostwire.wire.prefixes import parse_prefix

PREFIXES = ["10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "::/0", "100.64.0.0/24", "::ffff:0:0/96", "1.2.3.4/33", "", "x"]
RULES = Rules((parse_prefix("100.64.0.0/16"),), "https://192.0.2.1", ())


def ids(provider: atheris.FuzzedDataProvider) -> list[int]:
    """A few ids, small ones that meet others."""
    return [provider.ConsumeIntInRange(-1, 4) for _ in range(provider.ConsumeIntInRange(0, 3))]


def node(provider: atheris.FuzzedDataProvider, number: int) -> dict[str, Any]:
    """A node as it is told of."""
    texts = ["100.64.0.9", "fd00::9", "nonsense", "10.1.0.1/8"]
    addresses = [f"100.64.0.{number}"] if provider.ConsumeBool() else [provider.PickValueInList(texts)]
    key = bytes([provider.ConsumeIntInRange(0, 255)] * 32)
    return {"id": number, "stable_id": "s", "name": "n", "node_key": key, "disco_key": key, "addresses": addresses,
            "user": provider.ConsumeIntInRange(0, 2)}  # fmt: skip


def change(provider: atheris.FuzzedDataProvider) -> dict[str, Any]:
    """A map frame that is nearly one."""
    ports = [[provider.ConsumeIntInRange(-1, 70000), provider.ConsumeIntInRange(-1, 70000)]]
    some = provider.PickValueInList
    made = {
        "nodes": [node(provider, number) for number in ids(provider)],
        "removed_nodes": ids(provider),
        "homes": dict.fromkeys(ids(provider), 1),
        "rules": [{"id": i, "sources": ids(provider), "destinations": ids(provider), "ports": ports,
                   "source_prefixes": [some(PREFIXES)], "destination_prefixes": [some(PREFIXES)],
                   "own": provider.ConsumeBool()} for i in ids(provider)],
        "sets": [{"id": i, "nodes": ids(provider), "everyone": provider.ConsumeBool()} for i in ids(provider)],
        "set_changes": [{"id": i, "added": ids(provider), "removed": ids(provider)} for i in ids(provider)],
        "routes": [{"id": i, "prefix": some(PREFIXES), "router": 2, "down": provider.ConsumeBool()}
                   for i in ids(provider)],
        "removed_rules": ids(provider), "removed_sets": ids(provider), "removed_routes": ids(provider),
        "own_labels": ids(provider), "removed_relays": ids(provider),
    }  # fmt: skip
    picked = {key: value for key, value in made.items() if provider.ConsumeBool()}
    return {"type": "map", "cursor": [1, b"m"], "full": provider.ConsumeBool(), **picked}


def one_input(data: bytes) -> None:
    """A frame is refused as a whole, or a node follows it; packets are still judged, and routes still chosen."""
    provider = atheris.FuzzedDataProvider(data)
    raw = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 200))
    for decode in (decode_to_node, decode_to_server):
        with suppress(RemoteProtocolError):
            decode(raw)
    texts = tuple(provider.ConsumeUnicodeNoSurrogates(20) for _ in range(3))
    offer = read(Word.of(Report(session=1, sequence=1, routes=texts + tuple(PREFIXES), down=texts)), RULES)
    assert len(offer.prefixes) <= MAX_ROUTES
    network, clock, frames = NetworkMap(), ManualClock(), 0
    filter_, router, own = MapFilter(clock), Router(network, lambda _: Signs()), None
    while provider.remaining_bytes() and frames < 20:
        frames += 1
        try:
            told = decode_to_node(pack(change(provider)))
        except RemoteProtocolError:
            continue
        assert isinstance(told, MapChange)
        network.apply(told)
        own = network.nodes.get(1, own)
        if isinstance(own, MapNode):
            filter_.update(network, own, told)
            router.follow(told, 1, clock.now())
            assert not any(prefix.prefixlen == 0 for prefix in router.allowed(2))
        packet = bytes.fromhex("4500001c000000004011000064400002644000010035003500080000")
        admitted = filter_.admit(2, [packet])
        assert not admitted or (2 in network.nodes and network.rules)
        router.drain()


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
