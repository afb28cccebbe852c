"""Feed a node's disco whatever atheris finds: python tests/fuzz/fuzz_disco.py [-runs=N]."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ghostwire.wire.disco", "ghostwire.node.disco"]):
    shared = runpy.run_path(str(Path(__file__).parents[1] / "core" / "node" / "disco" / "conftest.py"))


def one_input(data: bytes) -> None:
    """Datagrams of a stranger, and messages of a peer directly and over relays; then a ping must still be answered."""
    house = shared["House"]()
    alice, bob = house.alice, house.bob
    line = house.Line("192.0.2.1:41641")
    sources = [line, house.Line("[2001:db8::1]:1"), alice.over_relay(), house.carol.over_relay(), house.Line("", "x")]
    provider = atheris.FuzzedDataProvider(data)
    while provider.remaining_bytes():
        source = provider.PickValueInList(sources)
        authentic = provider.ConsumeBool()
        some = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 255))
        datagram = alice.boxed(bob, some) if authentic else shared["MAGIC"] + some
        bob.disco.receive(source, datagram)
        assert sum(len(pong) for each in sources for pong in each.sent) <= len(datagram)
        for each in sources:
            each.sent.clear()
        house.clock.advance(100_000_000)
    for kind, *told in bob.told:
        assert kind in ("pinged", "ponged") or len(told[1]) <= 32
    bob.disco.receive(line, house.ping())
    assert [len(pong) for pong in line.sent] == [110]


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
