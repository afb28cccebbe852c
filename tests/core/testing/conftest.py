"""What the kit's own tests share."""

from collections.abc import Callable

import pytest

from ghostwire import NetworkConfig
from ghostwire.testing import MemoryPlatform
from ghostwire.testing.contracts import Contract, System


class MemorySystem(System):
    """The system behind a `MemoryPlatform`."""

    def __init__(self, platform: MemoryPlatform) -> None:
        self.platform = platform

    def observe(self) -> NetworkConfig | None:
        device = self.platform.devices.get("gwtest0")
        if device is None or device.closed:
            return None
        return device.config or NetworkConfig("gwtest0", device.mtu, ())

    def listen(self) -> None:
        self.platform.device.udp(9)

    def send(self, address: str, port: int, data: bytes) -> None:
        self.platform.device.udp(9).send(address, port, data)

    async def receive(self) -> tuple[str, bytes]:
        received = await self.platform.device.udp(9).receive()
        return received.source, received.data


@pytest.fixture
def memory_system() -> Callable[[MemoryPlatform], System]:
    return MemorySystem


@pytest.fixture
def verdicts() -> Callable[[Contract], dict[str, str]]:
    """Gives for a contract's object: rule -> why it failed, for those that did."""
    return _verdicts


def _verdicts(contract: Contract) -> dict[str, str]:
    failures = {}
    for name in dir(contract):
        if name.startswith("test_"):
            fresh = type(contract)()
            fresh.__dict__.update(contract.__dict__)
            try:
                getattr(fresh, name)()
            except (Exception, pytest.fail.Exception) as error:
                failures[name] = str(error)
    return failures
