"""What every platform and its devices must do to the operating system, and undo."""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from ghostwire.capabilities.platform import Device, FirewallRule, Forwarding, NetworkConfig, Platform
from ghostwire.capabilities.transport import BURST, Buffer
from ghostwire.errors import PlatformError
from ghostwire.testing import packets
from ghostwire.testing.contracts.base import Contract, harmless, leaves_nothing, refused, rule
from ghostwire.testing.packets import Datagram, Packet

OWN, PEER = "100.64.0.2", "100.64.0.3"
FULL = NetworkConfig("gwtest0", 1280, (f"{OWN}/32", "fd00::2/128"), ("100.64.0.0/24", "fd00::/64"))
CHANGED = NetworkConfig("gwtest0", 1280, ("100.64.0.5/32", "fd00::2/128"), ("fd00::/64", "100.64.1.0/24"))


class System(ABC):
    """The operating system behind a platform, seen with other eyes than the platform's own."""

    @abstractmethod
    def observe(self) -> NetworkConfig | None:
        """Addresses and routes of the interface ``gwtest0``, each in any order; None without such an interface."""

    @abstractmethod
    def listen(self) -> None:
        """Open UDP port 9; the interface is configured."""

    @abstractmethod
    def send(self, address: str, port: int, data: bytes) -> None:
        """Let an application of this system send a UDP payload from port 9."""

    @abstractmethod
    async def receive(self) -> tuple[str, bytes]:
        """The next UDP payload for port 9 of this system, and the address it came from."""


class Sink:
    """Collects what a device delivers; copies at once, since the buffers are only valid during the call."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.bursts: list[int] = []
        self._changed = asyncio.Event()

    def __call__(self, burst: Sequence[Buffer]) -> None:
        """What the device calls."""
        self.packets += [bytes(packet) for packet in burst]
        self.bursts.append(len(burst))
        self._changed.set()

    def datagrams(self) -> list[tuple[Packet, Datagram]]:
        """The UDP datagrams for the peer among them: systems also send of their own accord."""
        with harmless("reading what the device delivered: whole IP packets,"):
            parsed = [packets.decode(raw) for raw in self.packets]
        pairs = [(packet, packets.read_udp(packet)) for packet in parsed if packet.target == PEER]
        return [(packet, datagram) for packet, datagram in pairs if datagram is not None]

    async def count(self, number: int) -> None:
        """Wait until this many datagrams for the peer have come."""
        while len(self.datagrams()) < number:
            self._changed.clear()
            await self._changed.wait()


class PlatformContract(Contract):
    """Subclass it as ``Test...`` and implement `make`; run it where no harm is done, in a namespace say."""

    async def make(self) -> tuple[Platform, System]:
        """The platform, and the system it works on, as another program sees it."""
        raise NotImplementedError

    async def opened(self) -> tuple[Platform, System, Device]:
        """With a device."""
        platform, system = await self.make()
        device = await platform.open_device("gwtest0", 1280)
        self.cleanup.callback(device.close)
        self.cleanup.push_async_callback(platform.restore)
        return platform, system, device

    async def started(self) -> tuple[System, Device, Sink]:
        """Configured, and delivering."""
        platform, system, device = await self.opened()
        await platform.configure(FULL)
        system.listen()
        sink = Sink()
        device.start(sink)
        return system, device, sink

    def sees(self, system: System, expected: NetworkConfig) -> None:
        """The system has exactly this."""
        found = system.observe()
        assert found is not None, f"there is no interface {expected.interface}"
        configured = bool(expected.addresses)
        assert found.mtu == expected.mtu or not configured, f"the MTU is {found.mtu} instead of {expected.mtu}"
        for what in ("addresses", "routes"):
            have, want = set(getattr(found, what)), set(getattr(expected, what))
            assert have == want, f"{what}: missing {sorted(want - have)}, left over {sorted(have - want)}"

    @rule
    async def test_a_device_has_the_name_and_mtu_asked_for_and_no_addresses_yet(self) -> None:
        """Configuring is a step of its own."""
        _, system, device = await self.opened()
        assert device.name == "gwtest0", f"the device is called {device.name!r} instead of 'gwtest0'"
        assert device.mtu == 1280, f"the device has an MTU of {device.mtu} instead of 1280"
        self.sees(system, NetworkConfig("gwtest0", 1280, ()))

    @rule
    async def test_a_name_that_is_taken_is_refused(self) -> None:
        """By whoever has it."""
        platform, _, _ = await self.opened()
        with refused(PlatformError, "a second interface of the same name"):
            await platform.open_device("gwtest0", 1280)

    @rule
    async def test_configuring_brings_exactly_what_was_asked_for(self) -> None:
        """Addresses and routes of both families."""
        platform, system, _ = await self.opened()
        await platform.configure(FULL)
        self.sees(system, FULL)

    @rule
    async def test_configuring_again_changes_nothing_and_changing_leaves_nothing_over(self) -> None:
        """Whatever the order."""
        platform, system, _ = await self.opened()
        for config in (FULL, FULL, CHANGED, FULL):
            await platform.configure(config)
            self.sees(system, config)

    @rule
    async def test_default_routes_come_and_go_with_and_without_the_lan(self) -> None:
        """An exit node is chosen, and left again."""
        platform, system, _ = await self.opened()
        leaving = msgspec.structs.replace(FULL, routes=(*FULL.routes, "0.0.0.0/0", "::/0"))
        for config in (FULL, leaving, msgspec.structs.replace(leaving, lan=True), leaving, FULL):
            await platform.configure(config)
            self.sees(system, config)
        await platform.configure(leaving)
        await platform.restore()
        self.sees(system, NetworkConfig("gwtest0", 1280, ()))

    @rule
    async def test_forwarding_leaves_routes_and_addresses_as_they_were_asked_for(self) -> None:
        """Where the system lacks something for it, it says so in its log."""
        platform, system, _ = await self.opened()
        for masquerade in (True, False):
            forwarding = Forwarding(("198.51.100.0/24", "2001:db8::/64"), masquerade)
            await platform.configure(msgspec.structs.replace(FULL, forwarding=forwarding, isolated=masquerade))
            self.sees(system, FULL)
        await platform.restore()
        self.sees(system, NetworkConfig("gwtest0", 1280, ()))

    @rule
    async def test_a_firewall_is_set_and_changed_or_refused_in_one_line(self) -> None:
        """Rules of both families, with and without protocols and ports; none at all, too."""
        platform, _, _ = await self.opened()
        some = (
            FirewallRule((f"{PEER}/32", "fd00::3/128"), (f"{OWN}/32",), (6, 17), ((22, 22), (80, 90))),
            FirewallRule(("0.0.0.0/0", "::/0"), ("fd00::2/128", f"{OWN}/32")),
        )
        for rules in (some, some, (), some[:1]):
            refusals = [each for each in [await _refusal(platform, rules)] if "\n" in each]
            assert not refusals, f"firewall() is refused in more than one line: {refusals[0]}"
        await platform.configure(FULL)
        await platform.restore()

    @rule
    async def test_cleaning_up_leaves_a_running_node_alone_and_may_be_done_twice(self) -> None:
        """It says what it removed."""
        platform, system, _ = await self.opened()
        await platform.configure(FULL)
        await platform.cleanup()
        again = await platform.cleanup()
        assert not again, f"cleanup() found something to remove twice: {', '.join(again)}"
        self.sees(system, FULL)

    @rule
    async def test_the_own_device_is_no_way_to_a_network(self) -> None:
        """Else two routers would believe that each has a way through the other."""
        platform, _, _ = await self.opened()
        before = platform.reaches("198.18.9.0/24")
        await platform.configure(msgspec.structs.replace(FULL, routes=(*FULL.routes, "198.18.9.0/24")))
        assert platform.reaches("198.18.9.0/24") is before, "reaches() counts the route into the device"

    @rule
    async def test_restoring_undoes_it_and_may_be_done_twice_or_for_nothing(self) -> None:
        """A node that goes leaves nothing behind."""
        platform, system, _ = await self.opened()
        await platform.restore()
        await platform.configure(FULL)
        await platform.restore()
        await platform.restore()
        self.sees(system, NetworkConfig("gwtest0", 1280, ()))
        await platform.configure(FULL)
        self.sees(system, FULL)

    @rule
    async def test_closing_removes_the_device_and_may_be_done_twice(self) -> None:
        """And its name is free again."""
        platform, system, device = await self.opened()
        await platform.configure(FULL)
        device.close()
        device.close()
        assert system.observe() is None, "the interface is still there"
        await platform.restore()
        again = await platform.open_device("gwtest0", 1280)
        again.close()

    @rule
    async def test_what_the_system_sends_is_delivered_as_whole_ip_packets(self) -> None:
        """In bursts no larger than `BURST`, in order."""
        system, _, sink = await self.started()
        sent = [bytes([number]) * number for number in range(1, 101)]
        for data in sent:
            system.send(PEER, 7, data)
        await self.within(sink.count(len(sent)), f"{len(sent)} packets should be delivered")
        assert [datagram.data for _, datagram in sink.datagrams()] == sent, "packets were reordered or changed"
        sources = {packet.source for packet, _ in sink.datagrams()}
        assert sources == {OWN}, f"packets came from {sources} instead of {OWN}"
        assert max(sink.bursts) <= BURST, f"{max(sink.bursts)} packets in one burst"

    @rule
    async def test_what_is_written_reaches_the_system_whatever_kind_of_buffer_it_is_in(self) -> None:
        """The buffers may be reused at once."""
        system, device, _ = await self.started()
        whole = [packets.udp_packet(PEER, OWN, Datagram(7, 9, data)) for data in (b"one", b"two", b"three")]
        reused = bytearray(whole[2])
        taken = device.write([whole[0], memoryview(b"-" + whole[1] + b"-")[1:-1], reused])
        assert taken == 3, f"write() of 3 packets answered {taken}, the number taken"
        reused[:] = bytes(len(reused))
        got = [await self.within(system.receive(), "what was written should reach the system") for _ in range(3)]
        assert got == [(PEER, b"one"), (PEER, b"two"), (PEER, b"three")], f"the system was given {got}"

    @rule
    async def test_what_is_no_packet_does_no_harm(self) -> None:
        """Whatever a peer sealed."""
        system, device, _ = await self.started()
        good = packets.udp_packet(PEER, OWN, Datagram(7, 9, b"good"))
        with harmless("writing what is no packet"):
            device.write([b"", b"\0", b"\x45", b"\xff" * 100, good[:10], bytes(1280)])
        device.write([good])
        assert (await self.within(system.receive(), "a good packet after bad ones"))[1] == b"good"

    @rule
    async def test_a_closed_device_delivers_nothing_and_takes_nothing(self) -> None:
        """And raises nothing."""
        _, device, sink = await self.started()
        device.close()
        before = len(sink.packets)
        taken = device.write([packets.udp_packet(PEER, OWN, Datagram(7, 9, b"late"))])
        assert taken == 0, f"a closed device took {taken} packets"
        await asyncio.sleep(0)
        assert len(sink.packets) == before, "a closed device delivered packets"

    @rule
    async def test_local_addresses_are_plain_addresses_that_peers_might_reach(self) -> None:
        """Neither loopback nor link-local nor the mesh's own."""
        platform, _, _ = await self.opened()
        await platform.configure(FULL)
        for text in platform.local_addresses():
            address = ipaddress.ip_address(text)
            assert not address.is_loopback, f"{text} is a loopback address"
            assert not address.is_link_local, f"{text} is a link-local address"
            assert text not in (OWN, "fd00::2"), f"{text} is the mesh's own"

    @rule
    async def test_watching_links_can_be_stopped(self) -> None:
        """More than once."""
        platform, _, _ = await self.opened()
        stop = platform.watch_links(lambda: None)
        with harmless("stopping to watch links, twice"):
            stop()
            stop()

    # Cancellation, closing in use, time

    @rule
    async def test_a_configure_that_is_cancelled_can_be_undone_and_done_again(self) -> None:
        """A node that is stopped while it starts leaves nothing behind."""
        platform, system, _ = await self.opened()
        for patience in (0, 0.05, 0.2):
            configuring = asyncio.ensure_future(platform.configure(FULL))
            await asyncio.sleep(patience)
            configuring.cancel()
            await asyncio.gather(configuring, return_exceptions=True)
            await platform.restore()
            await asyncio.sleep(0.5)  # nobody says that nothing goes on any more
            self.sees(system, NetworkConfig("gwtest0", 1280, ()))
        with harmless("configure() after one that was cancelled"):
            await platform.configure(FULL)
        self.sees(system, FULL)

    @rule
    async def test_a_device_may_be_closed_while_it_delivers(self) -> None:
        """What is delivered may be what ends the node."""
        platform, system, device = await self.opened()
        await platform.configure(FULL)
        system.listen()
        closed, raised = asyncio.Event(), list[str]()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: raised.append(str(context.get("exception") or context)))
        self.cleanup.callback(loop.set_exception_handler, None)

        def deliver(packets: Sequence[Buffer]) -> None:
            device.close()
            closed.set()

        device.start(deliver)
        for _ in range(10):
            system.send(PEER, 7, b"the last")
        await self.within(closed.wait(), "a packet should be delivered")
        await asyncio.sleep(0.05)
        assert not raised, f"closing the device while it delivers raised: {raised[0]}"
        assert system.observe() is None, "the interface is still there"

    @rule
    async def test_devices_that_come_and_go_leave_nothing_behind(self) -> None:
        """Neither tasks nor descriptors nor threads; watching links neither."""
        platform, _ = await self.make()
        with leaves_nothing("opening and closing devices"):
            for _ in range(10):
                device = await platform.open_device("gwtest0", 1280)
                stop = platform.watch_links(lambda: None)
                device.start(lambda packets: None)
                await asyncio.sleep(0)
                stop()
                device.close()
            await platform.restore()
            await asyncio.sleep(0.05)

    @rule
    async def test_many_routes_are_configured_in_bounded_time(self) -> None:
        """A mesh with many subnet routers."""
        platform, system, _ = await self.opened()
        many = NetworkConfig("gwtest0", 1280, FULL.addresses, tuple(f"10.9.{number}.0/24" for number in range(200)))
        await self.within(platform.configure(many), "configure() with 200 routes")
        self.sees(system, many)
        await self.within(platform.restore(), "restore() of 200 routes")
        self.sees(system, NetworkConfig("gwtest0", 1280, ()))


async def _refusal(platform: Platform, rules: Sequence[FirewallRule]) -> str:
    """Why these rules are refused; empty where they are in force."""
    try:
        await platform.firewall("gwtest0", rules)
    except PlatformError as error:
        return str(error)
    return ""
