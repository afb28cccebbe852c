"""What tests of GhostWire and of its plugins are made of: clocks, networks, platforms, contracts.

@simulated
async def test_two_hosts_meet() -> None:
    network = Network(seed=1)
    alice, bob = network.host("alice", "192.0.2.1"), network.host("bob", "192.0.2.2")
    ...
"""

from __future__ import annotations

from ghostwire.testing.clock import ManualClock, SeededEntropy
from ghostwire.testing.datagrams import MemoryPath, MemoryTransport
from ghostwire.testing.loop import SimulatedLoop, SimulationError, running_clock, simulate, simulated
from ghostwire.testing.nat import Nat, NatKind
from ghostwire.testing.network import Host, Link, Network
from ghostwire.testing.platform import MemoryDevice, MemoryPlatform
from ghostwire.testing.sharing import SharedDatabase, SharedStorage
from ghostwire.testing.storage import MemoryDatabase, MemoryStorage

__all__ = [
    "Host",
    "Link",
    "ManualClock",
    "MemoryDatabase",
    "MemoryDevice",
    "MemoryPath",
    "MemoryPlatform",
    "MemoryStorage",
    "MemoryTransport",
    "Nat",
    "NatKind",
    "Network",
    "SeededEntropy",
    "SharedDatabase",
    "SharedStorage",
    "SimulatedLoop",
    "SimulationError",
    "running_clock",
    "simulate",
    "simulated",
]
