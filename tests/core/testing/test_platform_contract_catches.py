"""The platform's contract fails for platforms that break one of its rules."""

from collections.abc import Callable, Sequence

import pytest

from ghostwire import Buffer, NetworkConfig
from ghostwire.testing import MemoryDevice, Network, simulate
from ghostwire.testing.contracts import Contract, PlatformContract, System
from ghostwire.testing.platform import MemoryPlatform

Verdicts = Callable[[Contract], dict[str, str]]


class Platforms(PlatformContract):
    run = staticmethod(simulate)
    kind: type[MemoryPlatform] = MemoryPlatform
    eyes: Callable[[MemoryPlatform], System]

    async def make(self) -> tuple[MemoryPlatform, System]:
        platform = self.kind(Network().host("laptop", "192.0.2.7"))
        return platform, self.eyes(platform)


class _NeverRestores(MemoryPlatform):
    async def restore(self) -> None:
        """Leaves everything."""


class _OnlyAdds(MemoryPlatform):
    async def configure(self, network: NetworkConfig) -> None:
        held = self.config
        both = tuple(dict.fromkeys((*(held.routes if held else ()), *network.routes)))
        await super().configure(NetworkConfig(network.interface, network.mtu, network.addresses, both))


class _Advertises(MemoryPlatform):
    def local_addresses(self) -> Sequence[str]:
        return ["127.0.0.1"]


class _TakesNames(MemoryPlatform):
    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        self.devices.pop(name, None)
        return await super().open_device(name, mtu)


class _RaisesAtRubbish(MemoryPlatform):
    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        device = await super().open_device(name, mtu)
        take = device._receive
        device._take = lambda raw: take(raw) is None  # type: ignore[method-assign]
        return device


class _IgnoresTheMtu(MemoryPlatform):
    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        return await super().open_device(name, 1500)


class _ConfiguresNothing(MemoryPlatform):
    async def configure(self, network: NetworkConfig) -> None:
        """Says that it did."""


class _DeviceOf(MemoryPlatform):
    kind: type[MemoryDevice]

    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        device = await super().open_device(name, mtu)
        device.__class__ = self.kind
        return device


class _NeverGoes(MemoryDevice):
    def close(self) -> None:
        """Stays."""


class _Cuts(MemoryDevice):
    def start(self, deliver: Callable[..., None]) -> None:
        super().start(lambda packets: deliver([packet[:40] for packet in packets]))


class _Reverses(MemoryDevice):
    def write(self, packets: Sequence[Buffer]) -> int:
        return super().write(packets[::-1])


class _StaysAfterClosing(_DeviceOf):
    kind = _NeverGoes


class _CutsPackets(_DeviceOf):
    kind = _Cuts


class _WritesBackwards(_DeviceOf):
    kind = _Reverses


class _StopsOnce(MemoryPlatform):
    def watch_links(self, changed: Callable[[], None]) -> Callable[[], None]:
        return iter([None]).__next__


BREAKERS = [
    (_NeverRestores, "test_restoring_undoes_it_and_may_be_done_twice_or_for_nothing"),
    (_OnlyAdds, "test_configuring_again_changes_nothing_and_changing_leaves_nothing_over"),
    (_Advertises, "test_local_addresses_are_plain_addresses_that_peers_might_reach"),
    (_TakesNames, "test_a_name_that_is_taken_is_refused"),
    (_RaisesAtRubbish, "test_what_is_no_packet_does_no_harm"),
    (_IgnoresTheMtu, "test_a_device_has_the_name_and_mtu_asked_for_and_no_addresses_yet"),
    (_ConfiguresNothing, "test_configuring_brings_exactly_what_was_asked_for"),
    (_StaysAfterClosing, "test_closing_removes_the_device_and_may_be_done_twice"),
    (_StaysAfterClosing, "test_a_closed_device_delivers_nothing_and_takes_nothing"),
    (_CutsPackets, "test_what_the_system_sends_is_delivered_as_whole_ip_packets"),
    (_WritesBackwards, "test_what_is_written_reaches_the_system_whatever_kind_of_buffer_it_is_in"),
    (_StopsOnce, "test_watching_links_can_be_stopped"),
]


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name.removeprefix("test_") for _, rule_name in BREAKERS} == set(Platforms.rules())


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_platform_is_caught(
    kind: type[MemoryPlatform], rule_name: str, memory_system: Callable[[MemoryPlatform], System], verdicts: Verdicts
) -> None:
    contract = Platforms()
    contract.eyes = memory_system
    contract.kind = kind
    assert rule_name in verdicts(contract)
