"""What strangers and misbehaving clients do to a running relay: it survives, others go on, it counts, it recovers."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from nacl.public import Box
from nacl.public import PrivateKey as BoxKey
from nacl.public import PublicKey as BoxPublicKey

from ghostwire_derp import frames
from ghostwire_derp.frames import DISCO_MAGIC, MAGIC, PEER_GONE, RECV_PACKET, SEND_PACKET, SERVER_INFO, frame

pytestmark = pytest.mark.real

PLUGIN = """
import asyncio, json, os
from ghostwire import Provider, Telemetry, hookimpl

class Counts(Telemetry):
    name = "counts"

    async def start(self, metrics):
        async def answer(reader, writer):
            writer.write(json.dumps(metrics.values()).encode())
            writer.close()

        self.server = await asyncio.start_unix_server(answer, "\\0" + os.environ["COUNTS"])

    async def close(self):
        self.server.close()

@hookimpl
def ghostwire_telemetry():
    yield Provider("counts", lambda context: Counts())
"""
"""Tells a relay's metrics to whoever connects to an abstract Unix socket."""
UPGRADE = b"GET /derp HTTP/1.1\r\nhost: relay\r\nconnection: Upgrade\r\nupgrade: DERP\r\n\r\n"
RESET = struct.pack("ii", 1, 0)
MEGABYTE = 1 << 20
PATIENCE = 15.0
"""Seconds; a connection that the system itself forgot is hung up on after 10."""
DISCO = DISCO_MAGIC + bytes(60)

ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE


class Client:
    """Logged in; blocking."""

    def __init__(self, relay: Relay, key: BoxKey | None = None, source: str = "127.0.0.1") -> None:
        self.key, self.stream, self._buffer = key or BoxKey.generate(), relay.upgrade(source), b""
        self.name = bytes(self.key.public_key)
        self.stream.sendall(relay.login(self.key))
        assert self.frame()[0] == SERVER_INFO

    def frame(self) -> tuple[int, bytes]:
        while len(self._buffer) < 5 or len(self._buffer) < 5 + int.from_bytes(self._buffer[1:5], "big"):
            data = self.stream.recv(65536)
            if not data:
                raise ConnectionError("the relay hung up")
            self._buffer += data
        kind, length = frames.header.unpack_from(self._buffer)
        payload, self._buffer = self._buffer[5 : 5 + length], self._buffer[5 + length :]
        return kind, payload

    def send(self, *sent: bytes) -> None:
        self.stream.sendall(b"".join(sent))

    def reset(self) -> None:
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.stream.close()


class Relay:
    """A relay process. `measure` says what it is like now: resident MB, descriptors, its counters."""

    def __init__(self, folder: Path, sealed: bool, descriptors: int) -> None:
        self.sealed, self._errors = sealed, folder / "errors"
        (folder / "gw.toml").write_text('[plugin.derp]\nstun = ""\n[plugin.counts]\ntrusted = true\n')
        words = ["--config", str(folder / "gw.toml"), "--plugin", "counts", "--state", str(folder / "state"), "relay"]
        words += ["--open", "--listen", "127.0.0.1:0"] + ([] if sealed else ["--no-tls"])
        self._counts = f"counts-{os.getpid()}-{random.randrange(1 << 40)}"
        self._log = self._errors.open("wb")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ghostwire")), *words],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "COUNTS": self._counts},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
        )
        assert self.process.stdout is not None
        ready = self.process.stdout.readline().decode()
        assert "ready at" in ready, self._errors.read_text()
        self.port = int(ready.split(": open")[0].rpartition(":")[2])
        with self.upgrade():
            pass

    def end(self) -> None:
        """End it in good order: nothing that happened to it was a fault of its own."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0
        self._log.close()
        log = self._errors.read_text()
        assert "Traceback" not in log
        assert len(log.splitlines()) < 12, "strangers decide how much is logged"

    def connect(self, source: str = "127.0.0.1", *, sealed: bool | None = None) -> socket.socket:
        stream = socket.create_connection(("127.0.0.1", self.port), PATIENCE, (source, 0))
        return ANYBODY.wrap_socket(stream) if (self.sealed if sealed is None else sealed) else stream

    def upgrade(self, source: str = "127.0.0.1") -> socket.socket:
        """After the ServerKey."""
        stream, heard = self.connect(source), b""
        stream.sendall(UPGRADE)
        while len(heard.partition(b"\r\n\r\n")[2]) < 45:
            data = stream.recv(4096)
            if not data:
                raise ConnectionError("the relay hung up")
            heard += data
        said = heard.partition(b"\r\n\r\n")[2]
        assert said[5:13] == MAGIC
        self.key = said[13:45]
        return stream

    def login(self, key: BoxKey, **info: object) -> bytes:
        text = json.dumps({"version": 2, "CanAckPings": True} | info).encode()
        return frame(frames.CLIENT_INFO, bytes(key.public_key) + bytes(Box(key, BoxPublicKey(self.key)).encrypt(text)))

    def serves(self) -> float:
        """Two clients come, one sends the other a packet: the seconds that it took."""
        began = time.monotonic()
        alice, bob = Client(self, source="127.0.0.99"), Client(self, source="127.0.0.99")
        alice.send(frame(SEND_PACKET, bob.name + b"hello"))
        assert bob.frame() == (RECV_PACKET, alice.name + b"hello")
        alice.stream.close()
        bob.stream.close()
        return time.monotonic() - began

    @property
    def counts(self) -> dict[str, int]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(PATIENCE)
            asking.connect("\0" + self._counts)
            said = b"".join(iter(lambda: asking.recv(65536), b""))
        prefix = "ghostwire_relay_"
        return {name.removeprefix(prefix).removesuffix("_total"): value for name, value in json.loads(said).items()}

    @property
    def memory(self) -> int:
        """Bytes resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def until(self, done: Callable[[], bool]) -> None:
        """Ask until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, (self.counts, self.descriptors)


@pytest.fixture
def start(tmp_path: Path, install: Callable[..., Path]) -> Iterator[Callable[..., Relay]]:
    install("counts", PLUGIN, roles=("relay",))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    started: list[Relay] = []

    def run(sealed: bool = False, descriptors: int = hard) -> Relay:
        started.append(Relay(tmp_path, sealed, descriptors))
        return started[-1]

    yield run
    try:
        for relay in started:
            relay.end()
    finally:
        for relay in started:
            relay.process.kill()
            relay.process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def relay(request: pytest.FixtureRequest, start: Callable[..., Relay]) -> Relay:
    made: Relay = start(request.param)
    return made


def ended(stream: socket.socket) -> bool:
    """Whether the relay hangs up in time."""
    stream.settimeout(PATIENCE)
    with suppress(ConnectionError, ssl.SSLError):
        while stream.recv(65536):
            pass
    return True


def test_garbage_in_any_state_is_hung_up_on(relay: Relay) -> None:
    chance = random.Random(1)
    for _ in range(100):
        with relay.connect(sealed=False) as stream:
            stream.sendall(chance.randbytes(chance.randrange(1, 2000)))
    for _ in range(100):
        with relay.upgrade() as stream, suppress(ConnectionError, ssl.SSLError):
            stream.sendall(bytes([chance.randrange(3, 256)]) + chance.randbytes(chance.randrange(4, 2000)))
            assert ended(stream)
    for kind in (0x02, 0x04, 0x05, 0x0A, 0x12, 0x77):
        client = Client(relay)
        client.send(frames.header.pack(kind, 0xFFFF_FFFF))
        assert ended(client.stream)
    for length in (0, 4097, 0xFFFF_FFFF):
        with relay.upgrade() as stream:
            stream.sendall(frames.header.pack(frames.CLIENT_INFO, length) + bytes(min(length, 4097)))
            assert ended(stream)
    assert relay.serves() < 1
    counts = relay.counts
    assert counts["refused_malformed"] >= 103
    assert counts["closed_violation"] == 6


def test_resets_and_half_closed_streams_in_any_state_leave_nothing_behind(relay: Relay) -> None:
    relay.serves()
    before = relay.descriptors
    key, other = BoxKey.generate(), Client(relay)
    states: list[Callable[[], socket.socket]] = [
        lambda: relay.connect(sealed=False),
        lambda: relay.connect(),
        lambda: sent(relay.connect(sealed=False), b"\x16\x03\x01\x02\x00" if relay.sealed else b"GET / HT"),
        lambda: sent(relay.connect(), UPGRADE[:30]),
        lambda: sent(relay.connect(), UPGRADE),
        lambda: relay.upgrade(),
        lambda: sent(relay.upgrade(), b"\x02\x00"),
        lambda: sent(relay.upgrade(), relay.login(key)),
        lambda: Client(relay, key).stream,
        lambda: sent(Client(relay, key).stream, frame(SEND_PACKET, other.name + bytes(1400)) * 50 + b"\x04\x00"),
    ]
    for state in states:
        for _ in range(10):
            with state() as stream:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with state() as stream, suppress(OSError):
                stream.shutdown(socket.SHUT_WR)
                assert ended(stream)
    other.reset()
    relay.until(lambda: relay.counts["clients"] == 0 and relay.descriptors <= before)
    assert relay.serves() < 1


def sent(stream: socket.socket, data: bytes) -> socket.socket:
    stream.sendall(data)
    return stream


@pytest.mark.parametrize("said", [b"", UPGRADE, b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "upgrade", "half-hello"])
def test_ten_thousand_idle_connects_keep_nobody_out(relay: Relay, said: bytes) -> None:
    relay.serves()
    memory, descriptors = relay.memory, relay.descriptors
    with ExitStack() as held:
        crowd = [held.enter_context(socket.socket()) for _ in range(10_000)]
        for number, stream in enumerate(crowd):
            stream.setblocking(False)
            stream.bind((f"127.0.2.{number % 64 + 1}", 0))
            with suppress(BlockingIOError):
                stream.connect(("127.0.0.1", relay.port))
        relay.until(lambda: relay.descriptors > descriptors + 900)
        for stream in crowd:
            with suppress(OSError):
                stream.send(said)
        assert max(relay.serves() for _ in range(20)) < 10
        assert relay.memory < memory + 80 * MEGABYTE
        assert relay.descriptors < 5_000
    relay.until(lambda: relay.descriptors < descriptors + 5)
    relay.until(lambda: relay.memory < memory + 30 * MEGABYTE)


FLOODS = {
    "pings": lambda: frame(frames.PING, b"12345678") * 5000,
    "preferences": lambda: frame(frames.NOTE_PREFERRED, b"\1") * 10_000,
    "unknown frames": lambda: frame(0x77) * 13_000,
    "tiny packets for nobody": lambda: b"".join(frame(SEND_PACKET, os.urandom(32) + b"x") for _ in range(2000)),
    "discovery of nobody": lambda: b"".join(frame(SEND_PACKET, os.urandom(32) + DISCO) for _ in range(700)),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_small_frames_keeps_nobody_waiting(relay: Relay, flood: str) -> None:
    data, over = FLOODS[flood](), threading.Event()

    def pour(number: int) -> None:
        client = Client(relay, source=f"127.0.1.{number}")
        with suppress(OSError):
            while not over.is_set():
                client.send(data)
        client.stream.close()

    with crowd_of([partial(pour, number) for number in range(1, 7)], over):
        alice, bob, waits = Client(relay), Client(relay), list[float]()
        for _ in range(30):
            began = time.monotonic()
            alice.send(frame(SEND_PACKET, bob.name))
            assert bob.frame() == (RECV_PACKET, alice.name)
            waits.append(time.monotonic() - began)
    assert sorted(waits)[-3] < 0.5
    counts = relay.counts
    assert counts["closed_violation"] + counts["dropped_unknown_destination"] > 0


class crowd_of:
    """Runs these in threads until ``over``."""

    def __init__(self, tasks: list[Callable[[], None]], over: threading.Event) -> None:
        self._threads, self._over = [threading.Thread(target=task) for task in tasks], over

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_discovery_of_nobody_is_answered_a_few_times_a_second(relay: Relay) -> None:
    client = Client(relay)
    client.send(frame(SEND_PACKET, bytes(32) + DISCO) * 1000, frame(frames.PING, b"12345678"))
    heard = [client.frame()[0] for _ in range(4)]
    assert sorted(heard) == [PEER_GONE] * 3 + [frames.PONG]


def test_a_reader_that_never_reads_costs_little_memory_and_nobody_else(relay: Relay) -> None:
    memory, over = relay.memory, threading.Event()
    deaf = [Client(relay, source=f"127.0.3.{number}") for number in range(1, 31)]
    data = b"".join(frame(SEND_PACKET, reader.name + bytes(size)) for reader in deaf for size in (1, 1, 1, 1400))

    def pour(number: int) -> None:
        client = Client(relay, source=f"127.0.1.{number}")
        with suppress(OSError):
            while not over.is_set():
                client.send(data)
        client.stream.close()

    with crowd_of([partial(pour, number) for number in range(1, 21)], over):
        highest, waits = 0, list[float]()
        while relay.counts["closed_slow"] < 30:
            waits.append(relay.serves())
            highest = max(highest, relay.memory)
    assert highest < memory + 70 * MEGABYTE
    assert sorted(waits)[len(waits) // 2] < 3
    assert relay.counts["dropped_queue_head"] > 1000


def test_a_thousand_connections_of_one_key_are_no_more_than_it_may_have(relay: Relay) -> None:
    key, bob = BoxKey.generate(), Client(relay)
    clients = [Client(relay, key, source=f"127.0.4.{number % 9 + 1}") for number in range(1000)]
    assert relay.counts["closed_duplicate"] == 1000 - 32
    bob.send(frame(SEND_PACKET, clients[-1].name + b"the last"))
    assert clients[-1].frame() == (RECV_PACKET, bob.name + b"the last")
    assert ended(clients[0].stream)
    for client in clients:
        client.stream.close()


@pytest.mark.parametrize("privileged", [frames.WATCH_CONNS, frames.FORWARD_PACKET, frames.CLOSE_PEER])
def test_what_needs_the_mesh_key_ends_the_connection_of_who_has_none(relay: Relay, privileged: int) -> None:
    mallory, victim = Client(relay), Client(relay)
    payload = {frames.WATCH_CONNS: b"", frames.FORWARD_PACKET: bytes(32) + victim.name, frames.CLOSE_PEER: victim.name}
    mallory.send(frame(privileged, payload[privileged]))
    assert ended(mallory.stream)
    with relay.upgrade() as stream:
        stream.sendall(relay.login(BoxKey.generate(), meshKey="00" * 32))
        assert ended(stream)
    victim.send(frame(frames.PING, b"12345678"))
    assert victim.frame() == (frames.PONG, b"12345678")
    assert (relay.counts["closed_violation"], relay.counts["refused_mesh_key"]) == (1, 1)


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "tls"])
def test_without_descriptors_it_goes_on_with_those_it_has_and_recovers(
    start: Callable[..., Relay], sealed: bool
) -> None:
    relay = start(sealed, descriptors=100)
    alice, bob = Client(relay), Client(relay)
    with ExitStack() as held:
        for number in range(300):
            stream = held.enter_context(socket.socket())
            stream.settimeout(0.05)
            stream.bind((f"127.0.2.{number % 64 + 1}", 0))
            with suppress(OSError):
                stream.connect(("127.0.0.1", relay.port))
        alice.send(frame(SEND_PACKET, bob.name + b"still here"))
        assert bob.frame() == (RECV_PACKET, alice.name + b"still here")
    relay.until(lambda: relay.descriptors < 30)
    assert relay.serves() < PATIENCE


def test_clients_that_come_and_go_leave_nothing_behind(relay: Relay) -> None:
    for _ in range(20):
        relay.serves()
    memory, descriptors = relay.memory, relay.descriptors
    for _ in range(250):
        relay.serves()
    relay.until(lambda: relay.descriptors <= descriptors)
    assert relay.memory < memory + 3 * MEGABYTE
    assert relay.counts["clients"] == 0


def test_a_storm_of_handshakes_keeps_no_packet_waiting(start: Callable[..., Relay]) -> None:
    relay, over, shaken = start(True), threading.Event(), list[int]()

    def shake() -> None:
        while not over.is_set():
            with suppress(OSError), relay.connect("127.0.5.1"):
                shaken.append(1)

    alice, bob, waits = Client(relay), Client(relay), list[float]()
    with crowd_of([shake] * 10, over):
        while len(shaken) < 500:
            began = time.monotonic()
            alice.send(frame(SEND_PACKET, bob.name))
            assert bob.frame() == (RECV_PACKET, alice.name)
            waits.append(time.monotonic() - began)
    assert sorted(waits)[len(waits) * 9 // 10] < 0.2
