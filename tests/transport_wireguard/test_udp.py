"""The `udp` transport over loopback sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire import BURST, SEALED_MTU, Buffer, Metrics, Path
from ghostwire.errors import PlatformError
from ghostwire.system import udp
from ghostwire.wire.messages import MAX_ENDPOINTS
from ghostwire_transport_wireguard import udp_port
from ghostwire_transport_wireguard.udp import UdpTransport, socket_address
from ghostwire_transport_wireguard.udp_port import UdpPath

Make = Callable[..., UdpTransport]


class LoopbackSockets:
    """Binds to loopback whatever address is asked for; ``without`` families as a machine that lacks them."""

    def __init__(self, without: Sequence[int] = ()) -> None:
        self.without = without

    def udp(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if family in self.without:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
        except OSError as error:
            made.close()
            raise PlatformError(f"UDP port {port} is in use") from error
        return made


class Inbox:
    """What a transport delivered, copied; `wait` returns once that many datagrams are in."""

    def __init__(self) -> None:
        self.bursts: list[tuple[Path, list[bytes]]] = []
        self._news = asyncio.Event()

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        self.bursts.append((source, [bytes(each) for each in datagrams]))
        self._news.set()

    @property
    def datagrams(self) -> list[bytes]:
        return [each for _, burst in self.bursts for each in burst]

    async def wait(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5):
            while len(self.datagrams) < count:
                self._news.clear()
                await self._news.wait()
        return self.datagrams


def transport(
    *, port: int = 0, sockets: object = None, addresses: Sequence[str] = ("127.0.0.1", "::1")
) -> UdpTransport:
    context = SimpleNamespace(
        settings=SimpleNamespace(port=port),
        sockets=sockets or LoopbackSockets(),
        metrics=Metrics(),
        log=logging.getLogger("test"),
        local_addresses=lambda: addresses,
    )
    return UdpTransport(context)  # type: ignore[arg-type]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[UdpTransport, Inbox, UdpTransport, Inbox]]:
    left, right, here, there = transport(), transport(), Inbox(), Inbox()
    await left.start(here.receive)
    await right.start(there.receive)
    yield left, here, right, there
    await left.close()
    await right.close()


async def started(**options: object) -> tuple[UdpTransport, Inbox]:
    made, inbox = transport(**options), Inbox()  # type: ignore[arg-type]
    await made.start(inbox.receive)
    return made, inbox


SHAPES = {
    "one": [100],
    "equal": [SEALED_MTU] * 64,
    "shorter last": [SEALED_MTU] * 20 + [33],
    "mixed": [32, 1312, 1312, 700, 1312, 1312, 1312, 64, 64, 1],
    "rising": list(range(1, 65)),
    "falling": list(range(64, 0, -1)),
}


@pytest.mark.parametrize("segmenting", [True, False], ids=["joined", "one by one"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_a_burst_arrives_whole_and_in_order(pair, monkeypatch, segmenting, host, shape):
    left, _, right, there = pair
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not segmenting:
        monkeypatch.setattr(left._ports[family]._sender, "segments", False)
    sent = [bytes([number]) * size for number, size in enumerate(shape)]
    assert left.path(f"{host}:{right._ports[family].number}").send(sent)
    assert await there.wait(len(sent)) == sent
    assert all(len(burst) <= BURST for _, burst in there.bursts)
    assert left.counters.sent == right.counters.received == len(sent)
    assert left.counters.sent_bytes == right.counters.received_bytes == sum(shape)


async def test_the_path_that_is_delivered_leads_back_to_the_sender(pair):
    left, here, right, there = pair
    left.path(right.endpoints()[0]).send([b"ping"])
    await there.wait(1)
    source = there.bursts[0][0]
    assert source.endpoint == left.endpoints()[0]
    assert source == right.path(left.endpoints()[0])
    assert hash(source) == hash(right.path(left.endpoints()[0]))
    assert source.send([b"pong"])
    assert await here.wait(1) == [b"pong"]


async def test_buffers_may_be_reused_once_send_returns(pair):
    left, _, right, there = pair
    buffer = bytearray(b"first")
    path = left.path(right.endpoints()[0])
    path.send([memoryview(buffer)])
    buffer[:] = b"XXXXX"
    assert await there.wait(1) == [b"first"]


async def test_bursts_of_different_sources_are_kept_apart(pair):
    left, _, right, there = pair
    third, _ = await started()
    try:
        for number in range(10):
            assert left.path(right.endpoints()[0]).send([b"left%d" % number])
            assert third.path(right.endpoints()[0]).send([b"third%d" % number])
        await there.wait(20)
        for source, burst in there.bursts:
            name = b"left" if source.endpoint == left.endpoints()[0] else b"third"
            assert all(each.startswith(name) for each in burst)
    finally:
        await third.close()


@pytest.mark.parametrize("bad", [b"", bytes(udp.LARGEST_DATAGRAM + 1)], ids=["empty", "oversized"])
async def test_only_the_empty_or_oversized_datagram_of_a_burst_is_dropped_and_counted(pair, bad):
    left, _, right, there = pair
    assert not left.path(right.endpoints()[0]).send([bad])
    assert not left.path(right.endpoints()[0]).send([b"good", bad, b"better"])
    assert await there.wait(2) == [b"good", b"better"]
    assert (left.counters.dropped, left.counters.sent) == (2, 2)


async def test_hostile_sizes_from_the_wire_are_refused_and_the_rest_still_arrives(pair):
    _, _, right, there = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        address = ("127.0.0.1", right._ports[socket.AF_INET].number)
        stranger.sendto(b"", address)
        stranger.sendto(bytes(udp.JOINED_BYTES), address)
        stranger.sendto(b"fine", address)
        assert await there.wait(1) == [b"fine"]
    assert right.counters.refused == 2


async def test_an_icmp_error_does_not_stop_the_reader(pair):
    left, here, right, _ = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    for _ in range(3):
        left.path(nobody).send([b"anyone?"])
    right.path(left.endpoints()[0]).send([b"still here"])
    assert await here.wait(1) == [b"still here"]


async def test_errors_of_a_read_are_counted_and_survived(pair, monkeypatch):
    left, here, right, _ = pair
    monkeypatch.setattr(socket.socket, "recvmsg_into", failing_once(socket.socket.recvmsg_into))
    right.path(left.endpoints()[0]).send([b"after the error"])
    assert await here.wait(1) == [b"after the error"]
    assert left.counters.errors == 1


def failing_once(call):
    failures = [OSError(errno.ECONNREFUSED, "Connection refused")]

    def read(self, *arguments):
        if failures:
            raise failures.pop()
        return call(self, *arguments)

    return read


async def test_a_full_socket_drops_and_says_so(pair, monkeypatch):
    left, _, right, _ = pair

    def full(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(socket.socket, "sendmsg", full)
    monkeypatch.setattr(socket.socket, "sendto", full)
    assert not left.path(right.endpoints()[0]).send([b"a" * 100] * 5)
    assert left.counters.dropped == 5


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
async def test_a_kernel_that_refuses_segmentation_gets_single_datagrams_for_good(pair, monkeypatch, code):
    left, _, right, there = pair
    calls = []

    def refuse(*_):
        calls.append(1)
        raise OSError(code, "no")

    monkeypatch.setattr(socket.socket, "sendmsg", refuse)
    path = left.path(right.endpoints()[0])
    assert path.send([b"x" * 500] * 10)
    assert path.send([b"y" * 500] * 10)
    assert await there.wait(20) == [b"x" * 500] * 10 + [b"y" * 500] * 10
    assert len(calls) == 1


async def test_too_small_a_link_costs_only_that_burst_its_segmentation(pair, monkeypatch):
    left, _, right, there = pair
    with monkeypatch.context() as patched:

        def too_long(*_):
            raise OSError(errno.EMSGSIZE, "Message too long")

        patched.setattr(socket.socket, "sendmsg", too_long)
        assert left.path(right.endpoints()[0]).send([b"x" * 500] * 10)
    assert await there.wait(10) == [b"x" * 500] * 10
    assert left._ports[socket.AF_INET]._sender.segments


async def test_a_port_in_use_is_refused_in_one_clear_line():
    first, _ = await started()
    try:
        taken = first._ports[socket.AF_INET].number
        with pytest.raises(
            PlatformError, match=rf"^UDP port {taken} is in use: stop the other program or set port in "
        ):
            await started(port=taken)
    finally:
        await first.close()


async def test_both_families_get_the_same_port_where_it_is_free():
    made, _ = await started()
    try:
        assert made._ports[socket.AF_INET].number == made._ports[socket.AF_INET6].number > 0
    finally:
        await made.close()


async def test_a_machine_without_ipv6_goes_on_with_ipv4():
    made, _ = await started(sockets=LoopbackSockets(without=[socket.AF_INET6]))
    try:
        port = made._ports[socket.AF_INET].number
        assert made.endpoints() == [f"127.0.0.1:{port}"]
        assert not made.path("[2001:db8::1]:5").send([b"nowhere"])
        assert made.counters.dropped == 1
    finally:
        await made.close()


async def test_endpoints_are_the_local_addresses_with_the_port():
    made, _ = await started(addresses=["192.0.2.7", "2001:db8::7"])
    four, six = (made._ports[family].number for family in (socket.AF_INET, socket.AF_INET6))
    assert made.endpoints() == [f"192.0.2.7:{four}", f"[2001:db8::7]:{six}"]
    assert [made.path(each).endpoint for each in made.endpoints()] == made.endpoints()
    await made.close()
    assert made.endpoints() == []


async def test_a_machine_with_many_addresses_advertises_no_more_than_can_be_reported():
    made, _ = await started(addresses=[f"192.0.2.{number}" for number in range(1, 100)])
    assert len(made.endpoints()) == MAX_ENDPOINTS
    await made.close()


async def test_a_closed_transport_drops_sends_and_may_be_closed_again():
    made, _ = await started()
    path = made.path("127.0.0.1:9")
    await made.close()
    await made.close()
    assert not path.send([b"late"])


async def test_what_was_sent_and_dropped_is_in_the_metrics(pair):
    left, _, right, there = pair
    left.path(right.endpoints()[0]).send([b"abc", b"abc"])
    left.path(right.endpoints()[0]).send([b""])
    await there.wait(2)
    values = left._context.metrics.values()
    assert values["ghostwire_udp_sent_total"] == 2
    assert values["ghostwire_udp_sent_bytes_total"] == 6
    assert values["ghostwire_udp_dropped_total"] == 1
    assert right._context.metrics.values()["ghostwire_udp_received_total"] == 2


def test_the_memory_of_known_sources_is_bounded():
    made = transport()
    port = made._ports[socket.AF_INET]
    for number in range(udp_port.KNOWN_SOURCES + 100):
        port.path((f"10.0.{number >> 8}.{number & 255}", 1))
    assert port._known.cache_info().currsize == udp_port.KNOWN_SOURCES


def test_a_remembered_source_keeps_its_path_object():
    made = transport()
    assert made.path("192.0.2.1:5") is made.path("192.0.2.1:5")


def test_paths_compare_by_family_address_and_port():
    made, other = transport(), transport()
    assert made.path("[2001:DB8:0::1]:5") == other.path("[2001:db8::1]:5")
    assert made.path("192.0.2.1:5") != made.path("192.0.2.1:6")
    assert made.path("192.0.2.1:5") != made.path("192.0.2.2:5")
    assert made.path("192.0.2.1:5") != "192.0.2.1:5"
    assert (made.path("192.0.2.1:5").transport, made.path("192.0.2.1:5").relayed) == ("udp", False)


GARBAGE = [
    "",
    "192.0.2.1",
    "192.0.2.1:",
    ":5",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "192.0.2.1:99999",
    "192.0.2.1:-1",
    "192.0.2.1:5 ",
    "192.0.2.1:٥",
    "192.0.2:5",
    "192.0.2.256:5",
    "192.0.02.1:5",
    "0.0.0.0:5",
    "224.0.0.1:5",
    "255.255.255.255:5",
    "2001:db8::1:5",
    "[2001:db8::1]",
    "[2001:db8::1]:0",
    "[192.0.2.1]:5",
    "[::]:5",
    "[ff02::1]:5",
    "[::ffff:192.0.2.1]:5",
    "[fe80::1%eth0]:5",
    "example.org:5",
    "127.0.0.1:5\n",
]


@pytest.mark.parametrize("text", GARBAGE)
def test_text_that_is_no_endpoint_is_refused(text):
    with pytest.raises(ValueError):
        transport().path(text)


@given(st.text(max_size=60))
def test_any_text_gives_an_endpoint_or_a_value_error(text):
    try:
        _, address = socket_address(text)
    except ValueError:
        return
    assert 0 < address[1] < 65_536


@given(st.lists(st.sampled_from([1, 32, 64, 1311, 1312, 9000]), max_size=200))
def test_runs_cover_the_burst_in_order_and_obey_the_kernel(sizes):
    runs = list(udp.equal_runs(sizes))
    assert [at for start, end in runs for at in range(start, end)] == list(range(len(sizes)))
    for start, end in runs:
        run = sizes[start:end]
        assert set(run[:-1]) <= {run[0]}
        assert run[-1] <= run[0]
        assert len(run) <= udp.SEGMENTS
        assert sum(run) <= udp.JOINED_BYTES


def test_a_path_is_light():
    assert not hasattr(UdpPath.__new__(UdpPath), "__dict__")
