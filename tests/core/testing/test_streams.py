"""Streams between simulated hosts behave as asyncio's do."""

import asyncio
from pathlib import Path

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.frontdoor.certificate import ensure_certificate, server_context
from ghostwire.system.tls import unverified
from ghostwire.testing import Link, Network, running_clock, simulated
from ghostwire.testing.network import Host
from ghostwire.testing.streams import WINDOW


class Recorder(asyncio.Protocol):
    """Notes all that its transport tells it."""

    def __init__(self, half_open: bool = False) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.data, self.events, self.half_open = b"", [], half_open
        self.lost: Exception | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.half_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost = exc
        self.ended.set()


async def connected(half_open: bool = False, link: Link | None = None) -> tuple[Network, Recorder, Recorder]:
    network = Network()
    network.default = link or Link()
    client, server = network.host("client", "192.0.2.2"), network.host("server", "192.0.2.1")
    made: list[Recorder] = []
    server.listen(80, lambda: made.append(Recorder(half_open)) or made[-1])
    _, ours = await client.sockets.connect(lambda: Recorder(half_open), "server", 80)
    return network, ours, made[0]


@simulated
async def test_connecting_takes_a_round_trip_and_data_half_of_one() -> None:
    began = running_clock().now()
    _, ours, theirs = await connected(link=Link(latency=50 * MILLISECOND))
    assert running_clock().now() - began == 100 * MILLISECOND
    ours.transport.write(b"hello ")
    ours.transport.writelines([b"wor", b"ld"])
    await asyncio.sleep(0.049)
    assert theirs.data == b""
    await asyncio.sleep(0.002)
    assert theirs.data == b"hello world"
    assert theirs.transport.get_extra_info("peername")[0] == "192.0.2.2"


@simulated
async def test_nobody_there_and_nobody_listening_are_unavailable() -> None:
    network = Network()
    client, server = network.host("client", "192.0.2.2"), network.host("server", "192.0.2.1")
    with pytest.raises(Unavailable, match="refused"):
        await client.sockets.connect(asyncio.Protocol, "server", 80)
    server.listen(80, asyncio.Protocol)
    network.cut(client, server)
    began = running_clock().now()
    with pytest.raises(Unavailable, match="no answer"):
        await client.sockets.connect(asyncio.Protocol, "192.0.2.1", 80)
    assert running_clock().now() - began == 10 * SECOND
    with pytest.raises(Unavailable, match="no answer"):
        await client.sockets.connect(asyncio.Protocol, "192.0.2.99", 80)


@simulated
async def test_a_reader_that_pauses_makes_the_writer_pause_and_loses_nothing() -> None:
    _, ours, theirs = await connected()
    theirs.transport.pause_reading()
    sent = b""
    while "pause" not in ours.events:
        sent += bytes([len(sent) % 251]) * 10_000
        ours.transport.write(sent[-10_000:])
    await asyncio.sleep(1)
    assert theirs.data == b""
    assert ours.transport.get_write_buffer_size() == len(sent) - WINDOW
    theirs.transport.resume_reading()
    await asyncio.sleep(1)
    assert ours.events == ["made", "pause", "resume"]
    assert theirs.data == sent
    assert ours.transport.get_write_buffer_size() == 0


@simulated
async def test_closing_sends_what_was_written_first() -> None:
    _, ours, theirs = await connected()
    ours.transport.write(b"last words")
    ours.transport.close()
    await theirs.ended.wait()
    assert (theirs.data, theirs.lost) == (b"last words", None)
    assert theirs.events == ["made", "eof", "lost"]
    assert (ours.events, ours.lost) == (["made", "lost"], None)


@simulated
async def test_a_half_closed_stream_still_carries_the_answer() -> None:
    _, ours, theirs = await connected(half_open=True)
    ours.transport.write(b"question")
    ours.transport.write_eof()
    await asyncio.sleep(1)
    assert theirs.events == ["made", "eof"]
    theirs.transport.write(b"answer")
    theirs.transport.close()
    await asyncio.sleep(1)
    assert ours.data == b"answer"
    with pytest.raises(RuntimeError, match="write_eof"):
        ours.transport.write(b"more")


@simulated
async def test_abort_is_a_reset_at_the_other_end() -> None:
    _, ours, theirs = await connected()
    ours.transport.abort()
    await theirs.ended.wait()
    assert isinstance(theirs.lost, ConnectionResetError)
    assert ours.lost is None


@simulated
async def test_writing_to_an_end_that_is_gone_is_answered_by_a_reset() -> None:
    _, ours, theirs = await connected(half_open=True)
    theirs.transport.close()
    await asyncio.sleep(1)
    ours.transport.write(b"anyone?")
    await ours.ended.wait()
    assert isinstance(ours.lost, ConnectionResetError)


@simulated
async def test_a_cut_stalls_a_stream_and_healing_lets_it_go_on() -> None:
    network, ours, theirs = await connected()
    network.cut(*network.hosts.values())
    ours.transport.write(b"patience")
    ours.transport.close()
    await asyncio.sleep(600)
    assert theirs.data == b""
    network.heal()
    await theirs.ended.wait()
    assert theirs.data == b"patience"
    await asyncio.sleep(1)
    assert not network.streams


@simulated
async def test_loss_delays_a_stream_and_keeps_its_bytes_and_their_order() -> None:
    _, ours, theirs = await connected(link=Link(loss=0.3))
    for number in range(100):
        ours.transport.write(bytes([number]))
    await asyncio.sleep(60)
    assert theirs.data == bytes(range(100))


@simulated
async def test_a_severed_or_killed_stream_is_reset() -> None:
    network, ours, theirs = await connected()
    network.sever(*network.hosts.values())
    await ours.ended.wait()
    await theirs.ended.wait()
    assert isinstance(ours.lost, ConnectionResetError)
    _, ours, theirs = await connected()
    local: Host = theirs.transport.local  # type: ignore[attr-defined]
    local.kill()
    await ours.ended.wait()
    assert not local.listeners


def test_what_a_protocol_raises_fails_the_simulation() -> None:
    class Broken(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError("a bug")

    @simulated
    async def main() -> None:
        network = Network()
        client, server = network.host("client", "192.0.2.2"), network.host("server", "192.0.2.1")
        server.listen(80, Broken)
        transport, _ = await client.sockets.connect(asyncio.Protocol, "server", 80)
        transport.write(b"x")
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        main()


@simulated
async def test_udp_sockets_are_refused() -> None:
    with pytest.raises(PlatformError, match="memory transport"):
        Network().host("client", "192.0.2.2").sockets.udp("0.0.0.0", 1)


@simulated
async def test_tls_runs_over_a_memory_stream(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, {"server"}, running_clock().wall() // SECOND)
    network = Network()
    client, server = network.host("client", "192.0.2.2"), network.host("server", "192.0.2.1")
    made: list[Recorder] = []
    server.listen(443, lambda: made.append(Recorder()) or made[-1], tls=server_context(certificate, key))
    transport, ours = await client.sockets.connect(Recorder, "server", 443, tls=unverified())
    transport.write(b"sealed" * 10_000)
    await asyncio.sleep(1)
    assert made[0].data == b"sealed" * 10_000
    made[0].transport.write(b"answer")
    made[0].transport.close()
    await ours.ended.wait()
    assert ours.data == b"answer"


@simulated
async def test_a_client_that_speaks_no_tls_to_a_tls_port_is_hung_up_on(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, {"server"}, running_clock().wall() // SECOND)
    network = Network()
    client, server = network.host("client", "192.0.2.2"), network.host("server", "192.0.2.1")
    server.listen(443, Recorder, tls=server_context(certificate, key))
    transport, ours = await client.sockets.connect(Recorder, "server", 443)
    transport.write(b"GET / HTTP/1.1\r\n\r\n")
    await ours.ended.wait()
