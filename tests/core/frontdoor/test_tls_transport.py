"""The transport of TLS connections, against TLS clients on loopback; on both event loops."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.frontdoor import FrontDoor, tls_transport
from ghostwire.frontdoor.handover import take_socket
from ghostwire.frontdoor.handshake import accept
from ghostwire.frontdoor.outbox import RECORD
from ghostwire.frontdoor.tls_transport import AT_ONCE, TlsTransport
from ghostwire.frontdoor.turnstile import Turnstile

MEGABYTE = 1024 * 1024


class Recorder(asyncio.Protocol):
    """Keeps what it hears; ``reaction`` is called with it on every arrival."""

    def __init__(self, reaction: Callable[[Recorder], Any] = lambda own: None) -> None:
        self.reaction = reaction
        self.heard, self.sizes, self.calls = bytearray(), list[int](), list[str]()
        self.error: Exception | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.sizes.append(len(data))
        self.reaction(self)
        self.changed.set()

    def eof_received(self) -> None:
        self.note("eof")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost")
        self.error = exc
        self.lost.set_result(None)

    def note(self, what: str) -> None:
        self.calls.append(what)
        self.changed.set()

    async def until(self, ready: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not ready():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def trusting() -> ssl.SSLContext:
    return client_context()


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


Pair = tuple[Recorder, ssl.SSLSocket]


async def connected(tls: ssl.SSLContext, protocol: Recorder, sndbuf: int = 0) -> Pair:
    """(the server's protocol, the client's blocking socket) of a new connection over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    if sndbuf:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sndbuf)
    near.setblocking(False)
    far.settimeout(10)
    client = asyncio.create_task(asyncio.to_thread(client_context().wrap_socket, far))
    TlsTransport(await accept(near, tls, 10, Turnstile(1).turn), protocol)
    return protocol, await client


def read(client: ssl.SSLSocket, size: int = 1 << 62) -> bytes:
    """Up to ``size`` bytes, less only at the end of data."""
    heard = bytearray()
    while len(heard) < size and (more := client.recv(min(65536, size - len(heard)))):
        heard += more
    return bytes(heard)


def echo(own: Recorder) -> None:
    own.transport.write(own.heard)
    own.heard = bytearray()


async def finish(pair: Pair) -> None:
    protocol, client = pair
    client.close()
    protocol.transport.abort()
    await asyncio.wait_for(protocol.lost, 10)
    assert protocol.calls.count("lost") == protocol.calls.count("made") == 1
    assert protocol.transport.is_closing()


async def test_bytes_go_both_ways(tls: ssl.SSLContext) -> None:
    _, client = pair = await connected(tls, Recorder(echo))
    for size in (1, RECORD, RECORD + 1, 100_000):
        data = os.urandom(size)
        await asyncio.to_thread(client.sendall, data)
        assert await asyncio.to_thread(read, client, size) == data
    await finish(pair)


CHUNKS = st.lists(st.integers(1, 40_000), max_size=20)


@settings(max_examples=25, deadline=None)
@given(sent=CHUNKS, answered=CHUNKS)
def test_however_it_is_cut_it_arrives_whole(tls: ssl.SSLContext, sent: list[int], answered: list[int]) -> None:
    async def scenario() -> None:
        protocol, client = pair = await connected(tls, Recorder(), sndbuf=65536)
        data, answer = os.urandom(sum(sent)), os.urandom(sum(answered))

        def talk() -> bytes:
            rest = data
            for size in sent:
                client.sendall(rest[:size])
                rest = rest[size:]
            return read(client, len(answer))

        talking = asyncio.create_task(asyncio.to_thread(talk))
        rest = answer
        for size in answered:
            protocol.transport.write(rest[:size])
            rest = rest[size:]
            await asyncio.sleep(0)
        assert await talking == answer
        await protocol.until(lambda: len(protocol.heard) >= len(data))
        assert protocol.heard == data
        await finish(pair)

    asyncio.run(scenario())


async def test_small_writes_of_one_callback_are_one_record(tls: ssl.SSLContext) -> None:
    protocol, client = pair = await connected(tls, Recorder())
    for _ in range(3):
        protocol.transport.write(b"abc")
    protocol.transport.writelines([b"d", bytearray(b"e"), memoryview(b"f")])
    assert await asyncio.to_thread(client.recv, 65536) == b"abcabcabcdef"
    await finish(pair)


async def test_who_does_not_read_pauses_the_writer_and_who_reads_again_resumes_it(tls: ssl.SSLContext) -> None:
    protocol, client = pair = await connected(tls, Recorder(), sndbuf=65536)
    transport, written = protocol.transport, 0
    while "pause" not in protocol.calls:
        transport.write(bytes(10_000))
        written += 10_000
    low, high = transport.get_write_buffer_limits()
    assert high < transport.get_write_buffer_size() <= high + 10_000
    assert protocol.calls == ["made", "pause"]
    assert len(await asyncio.to_thread(read, client, written)) == written
    await protocol.until(lambda: "resume" in protocol.calls)
    assert transport.get_write_buffer_size() <= low
    await finish(pair)


async def test_new_limits_hold_at_once(tls: ssl.SSLContext) -> None:
    protocol, _ = pair = await connected(tls, Recorder(), sndbuf=65536)
    transport = protocol.transport
    transport.write(bytes(MEGABYTE))
    transport.set_write_buffer_limits(low=transport.get_write_buffer_size())
    transport.set_write_buffer_limits(high=0)
    assert protocol.calls == ["made", "pause", "resume", "pause"]
    await finish(pair)


async def test_a_paused_reader_hears_nothing_and_then_everything(tls: ssl.SSLContext) -> None:
    protocol, client = pair = await connected(tls, Recorder(lambda own: own.transport.pause_reading()))
    sending = asyncio.create_task(asyncio.to_thread(client.sendall, bytes(8 * MEGABYTE)))
    await protocol.until(lambda: protocol.sizes)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(protocol.sizes) == 1
    assert not protocol.transport.is_reading()
    protocol.reaction = lambda own: None
    protocol.transport.resume_reading()
    await sending
    await protocol.until(lambda: len(protocol.heard) == 8 * MEGABYTE)
    assert max(protocol.sizes) <= AT_ONCE * RECORD
    await finish(pair)


async def test_what_tls_has_decrypted_already_is_delivered_too(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_transport, "RECORD", 100)
    monkeypatch.setattr(tls_transport, "AT_ONCE", 1)
    protocol, client = pair = await connected(tls, Recorder(lambda own: own.transport.pause_reading()))
    client.sendall(bytes(1000))
    await protocol.until(lambda: protocol.sizes)
    assert protocol.transport.get_extra_info("socket").pending() == 900
    protocol.reaction = lambda own: None
    protocol.transport.resume_reading()
    await protocol.until(lambda: protocol.sizes == [100] * 10)
    await finish(pair)


async def test_a_buffered_protocol_is_filled(tls: ssl.SSLContext) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.room, self.heard = bytearray(300), bytearray()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.room

        def buffer_updated(self, nbytes: int) -> None:
            self.heard += self.room[:nbytes]
            if len(self.heard) == 1000:
                whole.set_result(bytes(self.heard))

    whole = asyncio.get_running_loop().create_future()
    protocol, client = pair = await connected(tls, Recorder())
    protocol.transport.set_protocol(Buffered())
    data = os.urandom(1000)
    client.sendall(data)
    assert await asyncio.wait_for(whole, 10) == data
    protocol.transport.set_protocol(protocol)
    assert protocol.transport.get_protocol() is protocol
    await finish(pair)


async def test_the_peers_goodbye_is_an_end_of_data(tls: ssl.SSLContext) -> None:
    protocol, client = await connected(tls, Recorder())
    client.sendall(b"last words")
    client = await asyncio.to_thread(client.unwrap)
    assert protocol.calls == ["made", "eof"]
    client.close()
    await asyncio.wait_for(protocol.lost, 10)
    assert (protocol.heard, protocol.calls, protocol.error) == (b"last words", ["made", "eof", "lost"], None)


async def test_an_end_without_goodbye_is_one_too(tls: ssl.SSLContext) -> None:
    protocol, client = await connected(tls, Recorder(echo))
    client.shutdown(socket.SHUT_WR)
    await protocol.until(lambda: "eof" in protocol.calls)
    client.close()
    await asyncio.wait_for(protocol.lost, 10)
    assert protocol.calls == ["made", "eof", "lost"]


async def test_after_a_reset_nobody_is_waited_for(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_transport, "LINGER", 60)
    protocol, client = await connected(tls, Recorder())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await asyncio.wait_for(protocol.lost, 10)
    assert protocol.calls.count("lost") == 1


async def test_garbage_is_an_error(tls: ssl.SSLContext) -> None:
    protocol, client = await connected(tls, Recorder())
    with socket.socket(fileno=client.detach()) as plain:
        plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        await asyncio.wait_for(protocol.lost, 10)
    assert isinstance(protocol.error, ssl.SSLError)


async def test_what_was_written_before_close_arrives_with_a_goodbye(tls: ssl.SSLContext) -> None:
    protocol, client = await connected(tls, Recorder(), sndbuf=65536)
    client.suppress_ragged_eofs = False
    protocol.transport.write(bytes(MEGABYTE))
    protocol.transport.close()
    protocol.transport.close()
    protocol.transport.write(b"too late")
    assert len(await asyncio.to_thread(read, client)) == MEGABYTE
    assert not protocol.lost.done()
    client.close()
    await asyncio.wait_for(protocol.lost, 10)
    assert protocol.calls == ["made", "pause", "resume", "lost"]


async def test_an_answer_outlives_what_its_peer_still_sends(tls: ssl.SSLContext) -> None:
    def refuse(own: Recorder) -> None:
        own.transport.write(b"no")
        own.transport.close()

    protocol, client = await connected(tls, Recorder(refuse))

    def shout() -> bytes:
        client.sendall(bytes(4 * MEGABYTE))
        return read(client)

    assert await asyncio.to_thread(shout) == b"no"
    client.close()
    await asyncio.wait_for(protocol.lost, 10)
    assert protocol.error is None


@pytest.mark.parametrize("written", [0, MEGABYTE])
async def test_a_peer_that_neither_reads_nor_leaves_does_not_hold_the_end_up(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    monkeypatch.setattr(tls_transport, "FLUSH_TIMEOUT", 0.1)
    monkeypatch.setattr(tls_transport, "LINGER", 0.1)
    protocol, _client = pair = await connected(tls, Recorder(), sndbuf=65536)
    protocol.transport.write(bytes(written))
    protocol.transport.close()
    await asyncio.wait_for(protocol.lost, 10)
    await finish(pair)


async def test_a_protocol_that_fails_loses_its_connection(tls: ssl.SSLContext) -> None:
    def fail(own: Recorder) -> None:
        raise RuntimeError("a bug")

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    protocol, client = pair = await connected(tls, Recorder(fail))
    client.sendall(b"x")
    await asyncio.wait_for(protocol.lost, 10)
    assert [str(report["exception"]) for report in reports] == ["a bug"]
    await finish(pair)


async def test_it_says_what_is_known_of_the_connection(tls: ssl.SSLContext) -> None:
    protocol, client = pair = await connected(tls, Recorder())
    ask = protocol.transport.get_extra_info
    assert ask("peername") == client.getsockname()
    assert ask("sockname") == client.getpeername()
    assert ask("sslcontext") is tls
    assert ask("ssl_object").version() == client.version()
    assert ask("cipher") == client.cipher()
    assert ask("peercert") is None
    assert ask("nothing", 7) == 7
    assert not protocol.transport.can_write_eof()
    await finish(pair)
    assert ask("peername") is not None
    assert ask("ssl_object", "gone") == "gone"


class Moody(ssl.SSLSocket):
    """A TLS socket that first has to write in order to read, and to read in order to write."""

    refusals: list[str]

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        if "read" in self.refusals:
            self.refusals.remove("read")
            raise ssl.SSLWantWriteError
        return super().read(len)

    def write(self, data: Any) -> int:
        if "write" in self.refusals:
            self.refusals.remove("write")
            raise ssl.SSLWantReadError
        return super().write(data)


@pytest.mark.parametrize("refusals", [["read"], ["write"], ["read", "write"], ["read", "read", "write", "write"]])
async def test_each_direction_may_wait_for_the_other(tls: ssl.SSLContext, refusals: list[str]) -> None:
    protocol, client = pair = await connected(tls, Recorder(echo))
    transport = protocol.transport
    bare = transport.get_extra_info("socket")
    bare.__class__, bare.refusals = Moody, list(refusals)
    client.sendall(b"hello")
    for left in reversed(range(refusals.count("write"))):
        while bare.refusals.count("write") > left:
            await asyncio.sleep(0)
        client.sendall(b"!")  # what TLS waits for
    assert (await asyncio.to_thread(read, client, 5)) == b"hello"
    assert bare.refusals == []
    await finish(pair)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_keys_may_change_and_handshakes_may_not_be_repeated(tls: ssl.SSLContext, version: str) -> None:
    """``K`` makes openssl ask for new keys (TLS 1.3), ``R`` for a new handshake (TLS 1.2)."""
    loop = asyncio.get_running_loop()
    protocol = Recorder(echo)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = "127.0.0.1:" + str(listening.getsockname()[1])
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", address, version),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        near, _ = await loop.sock_accept(listening)
    TlsTransport(await accept(near, tls, 10, Turnstile(1).turn), protocol)
    client.stdin.write(b"before\n")
    await protocol.until(lambda: protocol.sizes)
    client.stdin.write(b"K\n" if version == "-tls1_3" else b"R\n")
    await client.stdin.drain()
    if version == "-tls1_3":
        await asyncio.wait_for(client.stdout.readuntil(b"KEYUPDATE\n"), 10)
        client.stdin.write(b"after\n")
        await asyncio.wait_for(client.stdout.readuntil(b"after\n"), 10)
        client.stdin.close()
    await asyncio.wait_for(protocol.lost, 10)
    await client.communicate()
    assert protocol.calls.count("lost") == 1


async def test_the_whole_session_changes_hands(tls: ssl.SSLContext) -> None:
    taken = asyncio.get_running_loop().create_future()

    def take(own: Recorder) -> None:
        if len(own.heard) >= 300_000:
            own.transport.write(b"switch")
            taken.set_result(take_socket(own.transport))

    protocol, client = await connected(tls, Recorder(take))
    data = os.urandom(8 * MEGABYTE)
    sending = asyncio.create_task(asyncio.to_thread(client.sendall, data))
    bare = await asyncio.wait_for(taken, 10)
    assert bare.gettimeout() == 0
    before, calls = bytes(protocol.heard), list(protocol.calls)
    bare.settimeout(10)
    rest = await asyncio.to_thread(read, bare, len(data) - len(before))
    assert before + rest == data
    await sending
    bare.sendall(b" and after")
    assert await asyncio.to_thread(read, client, 16) == b"switch and after"
    client.close()
    assert await asyncio.to_thread(read, bare) == b""
    bare.close()
    protocol.transport.resume_reading()
    protocol.transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (protocol.heard, protocol.calls) == (before, calls)


async def test_decrypted_bytes_change_hands_too(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_transport, "RECORD", 100)
    monkeypatch.setattr(tls_transport, "AT_ONCE", 1)
    taken = asyncio.get_running_loop().create_future()
    protocol, client = await connected(tls, Recorder(lambda own: taken.set_result(take_socket(own.transport))))
    client.sendall(bytes(1000))
    bare = await asyncio.wait_for(taken, 10)
    assert (len(protocol.heard), bare.pending(), len(bare.recv(2000))) == (100, 900, 900)
    bare.close()
    client.close()


async def test_what_cannot_be_written_yet_keeps_the_session_where_it_is(tls: ssl.SSLContext) -> None:
    protocol, client = pair = await connected(tls, Recorder(), sndbuf=65536)
    protocol.transport.write(bytes(MEGABYTE))
    assert take_socket(protocol.transport) is None
    assert len(await asyncio.to_thread(read, client, MEGABYTE)) == MEGABYTE
    await protocol.until(lambda: protocol.transport.get_write_buffer_size() == 0)
    protocol.transport.abort()
    assert take_socket(protocol.transport) is None
    await finish(pair)


async def test_a_thousand_connections_at_one_door(app: Any, echo: Any, tls: ssl.SSLContext) -> None:
    door = FrontDoor(app, [echo], tls=tls)
    door._backend.admission.per_address = 1000
    await door.start("127.0.0.1", 0)
    descriptors, context = len(os.listdir("/proc/self/fd")), client_context()
    head = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

    def join(number: int) -> ssl.SSLSocket:
        client = context.wrap_socket(socket.create_connection(("127.0.0.1", door.port), 30))
        client.sendall(head)
        assert read(client, 12) == b"HTTP/1.1 101"
        while read(client, 1) != b"\r" or read(client, 3) != b"\n\r\n":
            pass
        return client

    def talk(client: ssl.SSLSocket) -> bool:
        client.sendall(b"hello")
        return read(client, 5) == b"hello"

    with ThreadPoolExecutor(8) as pool:
        loop = asyncio.get_running_loop()
        clients = await asyncio.gather(*[loop.run_in_executor(pool, join, number) for number in range(1000)])
        assert all(await asyncio.gather(*[loop.run_in_executor(pool, talk, client) for client in clients]))
    for client in clients:
        client.close()
    await door.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while len(os.listdir("/proc/self/fd")) > descriptors:
                await asyncio.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
