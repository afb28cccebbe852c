"""The platform's contract fails for platforms that break one of its rules."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from ghostwire import Buffer, FirewallRule, NetworkConfig
from ghostwire.errors import PlatformError
from ghostwire.testing import MemoryDevice, Network, simulate
from ghostwire.testing.contracts import PlatformContract, System
from ghostwire.testing.platform import MemoryPlatform

from .catching import failure
from .conftest import MemorySystem


class Platforms(PlatformContract):
    run = staticmethod(simulate)
    kind: type[MemoryPlatform] = MemoryPlatform

    async def make(self) -> tuple[MemoryPlatform, System]:
        platform = self.kind(Network().host("laptop", "192.0.2.7"))
        return platform, MemorySystem(platform)


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
        return [None].pop


class _LosesTrack(MemoryPlatform):
    done: NetworkConfig | None = None

    async def configure(self, network: NetworkConfig) -> None:
        await super().configure(network)
        await asyncio.sleep(0.1)
        self.done = network

    async def restore(self) -> None:
        if self.done is not None:
            self.done = None
            await super().restore()


class _GoesOn(MemoryDevice):
    def _flush(self) -> None:
        super()._flush()
        if self.closed:
            raise ValueError("read from a closed file")


class _ReadsAfterClosing(_DeviceOf):
    kind = _GoesOn


class _KeepsDescriptors(MemoryPlatform):
    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        device = await super().open_device(name, mtu)
        self.kept = [*getattr(self, "kept", []), Path(os.devnull).open()]  # noqa: SIM115
        return device


class _OneRouteAtATime(MemoryPlatform):
    async def configure(self, network: NetworkConfig) -> None:
        await asyncio.sleep(0.1 * len(network.routes))
        await super().configure(network)


class _KnowsNoExit(MemoryPlatform):
    async def configure(self, network: NetworkConfig) -> None:
        routes = tuple(route for route in network.routes if not route.endswith("/0"))
        await super().configure(msgspec.structs.replace(network, routes=routes))


class _RoutesWhatItForwards(MemoryPlatform):
    async def configure(self, network: NetworkConfig) -> None:
        beyond = network.forwarding.prefixes if network.forwarding else ()
        await super().configure(msgspec.structs.replace(network, routes=(*network.routes, *beyond)))


class _RefusesAtLength(MemoryPlatform):
    async def firewall(self, interface: str, rules: Sequence[FirewallRule]) -> None:
        raise PlatformError("no firewall\nhere")


class _CleansForever(MemoryPlatform):
    async def cleanup(self) -> Sequence[str]:
        return ["a rule"]


class _ReachesThroughItself(MemoryPlatform):
    def reaches(self, prefix: str) -> bool:
        return self.config is not None and prefix in self.config.routes


BREAKERS = [
    (
        _KnowsNoExit,
        "default_routes_come_and_go_with_and_without_the_lan",
        "routes: missing ['0.0.0.0/0', '::/0'], left over []",
    ),
    (
        _RoutesWhatItForwards,
        "forwarding_leaves_routes_and_addresses_as_they_were_asked_for",
        "routes: missing [], left over ['198.51.100.0/24', '2001:db8::/64']",
    ),
    (
        _RefusesAtLength,
        "a_firewall_is_set_and_changed_or_refused_in_one_line",
        "firewall() is refused in more than one line: no firewall",
    ),
    (
        _CleansForever,
        "cleaning_up_leaves_a_running_node_alone_and_may_be_done_twice",
        "something to remove twice: a rule",
    ),
    (_ReachesThroughItself, "the_own_device_is_no_way_to_a_network", "reaches() counts the route into the device"),
    (
        _NeverRestores,
        "restoring_undoes_it_and_may_be_done_twice_or_for_nothing",
        "addresses: missing [], left over ['100.64.0.2/32', 'fd00::2/128']",
    ),
    (
        _OnlyAdds,
        "configuring_again_changes_nothing_and_changing_leaves_nothing_over",
        "routes: missing [], left over ['100.64.0.0/24']",
    ),
    (_Advertises, "local_addresses_are_plain_addresses_that_peers_might_reach", "127.0.0.1 is a loopback address"),
    (
        _TakesNames,
        "a_name_that_is_taken_is_refused",
        "a second interface of the same name must be refused with PlatformError, but",
    ),
    (
        _RaisesAtRubbish,
        "what_is_no_packet_does_no_harm",
        "writing what is no packet must do no harm, but raised ValueError: not an IP",
    ),
    (
        _IgnoresTheMtu,
        "a_device_has_the_name_and_mtu_asked_for_and_no_addresses_yet",
        "the device has an MTU of 1500 instead of 1280",
    ),
    (
        _ConfiguresNothing,
        "configuring_brings_exactly_what_was_asked_for",
        "addresses: missing ['100.64.0.2/32', 'fd00::2/128'], left over []",
    ),
    (_StaysAfterClosing, "closing_removes_the_device_and_may_be_done_twice", "the interface is still there"),
    (_StaysAfterClosing, "a_closed_device_delivers_nothing_and_takes_nothing", "a closed device took 1 packets"),
    (
        _CutsPackets,
        "what_the_system_sends_is_delivered_as_whole_ip_packets",
        "reading what the device delivered: whole IP packets, must do no harm, but r",
    ),
    (
        _WritesBackwards,
        "what_is_written_reaches_the_system_whatever_kind_of_buffer_it_is_in",
        "the system was given [('100.64.0.3', b'three'), ('100.64.0.3', b'two'), ('1",
    ),
    (
        _StopsOnce,
        "watching_links_can_be_stopped",
        "stopping to watch links, twice must do no harm, but raised IndexError: pop",
    ),
    (
        _LosesTrack,
        "a_configure_that_is_cancelled_can_be_undone_and_done_again",
        "addresses: missing [], left over ['100.64.0.2/32', 'fd00::2/128']",
    ),
    (
        _ReadsAfterClosing,
        "a_device_may_be_closed_while_it_delivers",
        "closing the device while it delivers raised: read from a closed file",
    ),
    (
        _KeepsDescriptors,
        "devices_that_come_and_go_leave_nothing_behind",
        "opening and closing devices left 10 descriptors open: /dev/null, /dev/null,",
    ),
    (_OneRouteAtATime, "many_routes_are_configured_in_bounded_time", "configure() with 200 routes"),
]


@pytest.mark.parametrize(("kind", "rule_name", "words"), BREAKERS)
def test_a_broken_platform_is_caught_in_words(kind: type[MemoryPlatform], rule_name: str, words: str) -> None:
    assert words in failure(Platforms, kind, rule_name)


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name, _ in BREAKERS} == set(Platforms.rules())


@pytest.mark.parametrize("rule_name", Platforms.rules())
def test_a_right_platform_is_not_caught(rule_name: str) -> None:
    assert failure(Platforms, MemoryPlatform, rule_name) == ""
