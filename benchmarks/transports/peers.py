"""The same work without a mesh: 1312 bytes a datagram, two processes, loopback. Each prints or returns Gbit/s."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from benchmarks.transports.pair import ROOT

from ghostwire import BURST, SEALED_MTU
from ghostwire.frontdoor.certificate import ensure_certificate


class Sink:
    """Counts what arrives from its first datagram on, and prints the rate every quarter of a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self.began = time.monotonic()

    def take(self, size: int) -> None:
        now = time.monotonic()
        self.bytes += size
        if now - self.began > 0.25:
            print(json.dumps(self.bytes * 8 / (now - self.began) / 1e9), flush=True)
            self.bytes, self.began = 0, now


def iperf3(seconds: float) -> float | None:
    """iperf3 -u with datagrams of that size, as fast as it can; what arrives. None without the program."""
    if not shutil.which("iperf3"):
        return None
    with subprocess.Popen(["iperf3", "-s", "-1", "-p", "15201", "--forceflush"], stdout=subprocess.PIPE) as server:
        assert server.stdout
        while b"listening" not in server.stdout.readline():
            if server.poll() is not None:
                return None
        words = f"iperf3 -J -c 127.0.0.1 -p 15201 -u -b 0 -l {SEALED_MTU} -t {max(1, round(seconds))}"
        said = subprocess.run(words.split(), capture_output=True, text=True, timeout=60)
        server.wait(10)
    end = json.loads(said.stdout)["end"]
    return float(end["sum_received"]["bits_per_second"]) / 1e9


def aioquic(seconds: float) -> float | None:
    """aioquic's own asyncio client and server, sending DATAGRAM frames as its acknowledgements come."""
    return _measured("aioquic", seconds)


def websockets(seconds: float) -> float | None:
    """A plain websockets client and server, one message a datagram, no TLS and no compression."""
    return _measured("websockets", seconds)


def _measured(name: str, seconds: float) -> float | None:
    """The median of what the sink says, without its first two figures."""
    words = [sys.executable, "-m", "benchmarks.transports.peers", name]
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(subprocess.Popen([*words, "sink"], stdout=subprocess.PIPE, text=True, cwd=ROOT))
        stack.callback(sink.kill)
        assert sink.stdout
        port = sink.stdout.readline().strip()
        if not port.isdigit():
            return None
        source = stack.enter_context(subprocess.Popen([*words, port], cwd=ROOT))
        stack.callback(source.kill)
        said = sorted([float(sink.stdout.readline()) for _ in range(2 + int(seconds * 4))][2:])
    return said[len(said) // 2]


async def _aioquic_sink() -> None:
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import DatagramFrameReceived, QuicEvent

    sink = Sink()

    class Protocol(QuicConnectionProtocol):
        def quic_event_received(self, event: QuicEvent) -> None:
            if isinstance(event, DatagramFrameReceived):
                sink.take(len(event.data))

    configuration = QuicConfiguration(is_client=False, max_datagram_frame_size=65_536, max_datagram_size=1400)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = ensure_certificate(Path(folder), ["127.0.0.1"], int(time.time()))
        configuration.load_cert_chain(certificate, key)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Protocol)
    assert server._transport is not None
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


async def _aioquic_source(port: int) -> None:
    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(max_datagram_frame_size=65_536, max_datagram_size=1400)
    configuration.verify_mode = ssl.CERT_NONE
    payload = bytes(SEALED_MTU)
    async with connect("127.0.0.1", port, configuration=configuration) as client:
        quic = client._quic
        while True:
            for _ in range(max(0, BURST - len(quic._datagrams_pending))):
                quic.send_datagram_frame(payload)
            client.transmit()
            await asyncio.sleep(0)


async def _websockets_sink() -> None:
    from websockets.asyncio.server import ServerConnection, serve

    sink = Sink()

    async def count(connection: ServerConnection) -> None:
        async for message in connection:
            sink.take(len(message))

    async with serve(count, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Event().wait()


async def _websockets_source(port: int) -> None:
    from websockets.asyncio.client import connect

    payload = bytes(SEALED_MTU)
    async with connect(f"ws://127.0.0.1:{port}", compression=None) as connection:
        while True:
            await connection.send(payload)


def main(name: str, role: str) -> None:
    import uvloop

    sinks: dict[str, Callable[[], Coroutine[object, object, None]]] = {
        "aioquic": _aioquic_sink,
        "websockets": _websockets_sink,
    }
    sources = {"aioquic": _aioquic_source, "websockets": _websockets_source}
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(sinks[name]() if role == "sink" else sources[name](int(role)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
