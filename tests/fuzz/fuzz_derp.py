"""Feed a relay with clients whatever atheris finds: python tests/fuzz/fuzz_derp.py [-runs=N]."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ghostwire_derp"]):
    shared = runpy.run_path(str(Path(__file__).parents[1] / "derp" / "relay" / "conftest.py"))

from ghostwire import Siblings

MESH_KEY = b"m" * 32


def one_input(data: bytes) -> None:
    """Streams of a stranger, a client and another relay, in pieces; then others' packets must still pass."""
    house = shared["House"]()
    house.relaying.mesh = Siblings(mesh_key=MESH_KEY)
    alice, bob = house.join(), house.join()
    hostile = [house.connect(), house.join(), house.join(meshKey=MESH_KEY.hex())]
    provider = atheris.FuzzedDataProvider(data)
    while provider.remaining_bytes():
        guest = hostile[provider.ConsumeIntInRange(0, 2)]
        guest.room = provider.PickValueInList([None, 0, 100])
        guest.send(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 255)))
    alice.send(shared["packet"](bob.key, b"still here"))
    assert bob.heard()[-1] == (5, alice.key + b"still here")
    house.run(70)
    assert not alice.closed
    assert hostile[0].closed
    house.router.close_all()
    assert house.router.outgoing.queued == 0


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
