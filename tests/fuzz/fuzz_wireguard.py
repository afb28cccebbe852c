"""Feed a WireGuard engine with a live session whatever atheris finds: python tests/fuzz/fuzz_wireguard.py [-runs=N]."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ghostwire_transport_wireguard"]):
    shared = runpy.run_path(str(Path(__file__).parents[1] / "transport_wireguard" / "conftest.py"))

pair = shared["Pair"]()
pair.connect()


def one_input(data: bytes) -> None:
    """A burst of datagrams, each after its length byte; then the session must still carry a packet."""
    provider = atheris.FuzzedDataProvider(data)
    burst = []
    while provider.remaining_bytes():
        burst.append(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 255)))
    pair.receive(pair.b, pair.a.path, burst)
    pair.b.packets.clear()
    sent = pair.send(pair.a, b"still here")
    pair.run(1_000_000_000)
    assert pair.b.packets == sent
    for end in (pair.a, pair.b):
        end.sent.clear()
        end.events.clear()


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
