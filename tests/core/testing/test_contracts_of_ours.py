"""The kit's own parts obey the capabilities' contracts."""

from collections.abc import Callable

import pytest

from ghostwire.testing import (
    MemoryDatabase,
    MemoryPlatform,
    MemoryStorage,
    MemoryTransport,
    Network,
    SharedDatabase,
    SharedStorage,
    simulate,
)
from ghostwire.testing.contracts import (
    PlatformContract,
    SharedStorageContract,
    StorageContract,
    System,
    TransportContract,
)


class TestMemoryTransport(TransportContract):
    run = staticmethod(simulate)
    network: Network | None = None

    async def make(self) -> MemoryTransport:
        self.network = self.network or Network()
        number = len(self.network.hosts) + 1
        return MemoryTransport(self.network.host(f"host{number}", f"192.0.2.{number}", f"2001:db8::{number}"))


class TestMemoryStorage(StorageContract):
    run = staticmethod(simulate)

    @pytest.fixture(autouse=True)
    def database(self) -> None:
        self.disk = MemoryDatabase()

    async def make(self) -> MemoryStorage:
        return MemoryStorage(self.disk)


class TestSharedStorage(SharedStorageContract):
    run = staticmethod(simulate)

    @pytest.fixture(autouse=True)
    def database(self) -> None:
        self.shared = SharedDatabase(delay=lambda: 0.05)

    async def make(self) -> SharedStorage:
        return SharedStorage(self.shared)


class TestMemoryPlatform(PlatformContract):
    run = staticmethod(simulate)

    @pytest.fixture(autouse=True)
    def eyes(self, memory_system: Callable[[MemoryPlatform], System]) -> None:
        self.system = memory_system

    async def make(self) -> tuple[MemoryPlatform, System]:
        platform = MemoryPlatform(Network().host("laptop", "192.0.2.7"))
        return platform, self.system(platform)
