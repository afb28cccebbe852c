"""Streams through HTTP proxies: one by hand, which can misbehave, and one that others wrote."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import Unavailable
from ghostwire.frontdoor.certificate import server_context
from ghostwire.system import proxy as module
from ghostwire.system.proxy import Asking, Proxy, proxy_for
from ghostwire.system.sockets import SystemSockets

MakeProxy = Any
SECRET = "pa:ss%w@rd"
CREDENTIALS = "user:pa%3Ass%25w%40rd"


class Talk(asyncio.Protocol):
    """A client that says hello and keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.arrived = asyncio.Event()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


class Buffered(asyncio.BufferedProtocol):
    """A client whose own buffer is small."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(3)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


class Greeter(asyncio.Protocol):
    """A server that speaks first, then echoes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(b"welcome ")

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest_asyncio.fixture(params=["plain", "tls"])
async def target(request: pytest.FixtureRequest, pair: tuple[Path, Path]) -> AsyncIterator[tuple[int, Any]]:
    """(port, the client's TLS context or None)."""
    tls = request.param == "tls"
    server = await asyncio.get_running_loop().create_server(
        Greeter, "127.0.0.1", 0, ssl=server_context(*pair) if tls else None
    )
    yield server.sockets[0].getsockname()[1], trusting(pair) if tls else None
    server.close()


def trusting(pair: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pair[0])


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this machine were another, so that it is reached through proxies."""
    monkeypatch.setattr(module, "_is_this_machine", lambda host: False)


async def converse(host: str, port: int, tls: ssl.SSLContext | None) -> bytes:
    transport, talk = await SystemSockets().connect(Talk, host, port, tls=tls)
    async with asyncio.timeout(10):
        while len(talk.heard) < len(b"welcome hello"):
            talk.arrived.clear()
            await talk.arrived.wait()
        transport.close()
        await talk.lost
    return talk.heard


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_streams_go_through_the_proxy(
    target: Any, proxies: MakeProxy, pair: Any, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, tls = target
    proxy = await proxies(port).start(server_context(*pair) if scheme == "https" else None)
    monkeypatch.setattr("ghostwire.system.sockets.system_roots", lambda: trusting(pair))
    variable = "HTTPS_PROXY" if tls else "http_proxy"
    monkeypatch.setenv(variable, f"{scheme}://{CREDENTIALS}@127.0.0.1:{proxy.port}")
    assert await converse("relay.example", 443, tls) == b"welcome hello"
    (head,) = proxy.heads
    assert (head.method, head.target) == (b"CONNECT", b"relay.example:443")
    assert dict(head.headers)[b"host"] == b"relay.example:443"
    _, _, pair64 = dict(head.headers)[b"proxy-authorization"].partition(b" ")
    assert base64.b64decode(pair64) == f"user:{SECRET}".encode()
    proxy.close()


async def test_what_it_is_asked_for_is_what_the_caller_wants(proxies: MakeProxy, monkeypatch: Any) -> None:
    proxy = await proxies(answer=b"HTTP/1.1 403 No\r\n\r\n").start()
    monkeypatch.setenv("all_proxy", f"127.0.0.1:{proxy.port}")
    for host in ("192.0.2.1", "2001:db8::1", "relay.example"):
        with pytest.raises(Unavailable):
            await SystemSockets().connect(Talk, host, 443, server_name="other.example")
    targets = [head.target for head in proxy.heads]
    assert targets == [b"192.0.2.1:443", b"[2001:db8::1]:443", b"relay.example:443"]
    assert b"proxy-authorization" not in dict(proxy.heads[0].headers)
    with pytest.raises(Unavailable, match="can't be asked for such a name"):
        await SystemSockets().connect(Talk, "relay.example\r\nX: y", 443)
    proxy.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 403 Secret\x07Words\r\nContent-Length: 3\r\n\r\nno!", "answered 403 Forbidden$"),
        (b"HTTP/1.0 502 x\r\n\r\n", "answered 502 Bad Gateway$"),
        (b"HTTP/1.1 299 x\r\n\r\nearly", "sent bytes of its own$"),
        (b"HTTP/1.1 799 x\r\n\r\n", "answered 799$"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\n\r\n", "answered 503 Service Unavailable$"),
        (b"HTTP/1.1 407 x\r\n\r\n", "does not accept the user and password; set HTTPS_PROXY to http://USER:PASSWORD@"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP$"),
        (b"HTTP/1.1 200 x\r\n" + b"X: " + bytes(100_000), "does not speak HTTP$"),
        (b"HTTP/1.1 2", "hung up without an answer$"),
    ],
)
async def test_its_refusal_is_one_line_without_secrets(
    proxies: MakeProxy, monkeypatch: Any, pair: Any, answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = await proxies(answer=answer).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}")
    where = rf"^relay\.example:443: the proxy 127\.0\.0\.1:{proxy.port} of HTTPS_PROXY "
    with pytest.raises(Unavailable, match=where + reason) as refused:
        await SystemSockets().connect(Talk, "relay.example", 443, tls=trusting(pair))
    told = "".join([str(refused.value), repr(proxy_for("relay.example", tls=True)), caplog.text])
    for secret in (SECRET, CREDENTIALS, "user:p", base64.b64encode(f"user:{SECRET}".encode()).decode()):
        assert secret not in told
    assert caplog.records == []
    proxy.close()


async def test_bytes_right_behind_its_consent_reach_a_protocol_with_a_buffer_too(
    proxies: MakeProxy, monkeypatch: Any
) -> None:
    proxy = await proxies(answer=b"HTTP/1.1 200 x\r\n\r\nwelcome").start()
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
    _, client = await SystemSockets().connect(Buffered, "relay.example", 80)
    await client.lost
    assert client.heard == b"welcome"
    proxy.close()


async def test_one_that_wants_to_know_who_asks_says_so(proxies: MakeProxy, monkeypatch: Any) -> None:
    proxy = await proxies(answer=b"HTTP/1.1 407 x\r\n\r\n").start()
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
    with pytest.raises(Unavailable, match="wants a user and password; set HTTP_PROXY to"):
        await SystemSockets().connect(Talk, "relay.example", 80)
    proxy.close()


async def test_one_that_never_answers_is_given_up(proxies: MakeProxy, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.1)
    proxy = await proxies(answer=b"").start()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(Unavailable, match=r"relay\.example:80: the proxy .* did not answer within 0\.1 s"):
        await SystemSockets().connect(Talk, "relay.example", 80)
    proxy.close()


async def test_one_that_is_not_there_is_named(monkeypatch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=rf"^the proxy 127\.0\.0\.1:{port} of HTTP_PROXY: nobody listens there"):
        await SystemSockets().connect(Talk, "relay.example", 80)


async def test_one_whose_certificate_nobody_vouches_for_is_not_used(
    proxies: MakeProxy, monkeypatch: Any, pair: Any
) -> None:
    proxy = await proxies(1).start(server_context(*pair))
    monkeypatch.setenv("HTTP_PROXY", f"https://{CREDENTIALS}@127.0.0.1:{proxy.port}")
    with pytest.raises(Unavailable, match=r"of HTTP_PROXY: no TLS with it \(self-signed certificate\)"):
        await SystemSockets().connect(Talk, "relay.example", 80)
    assert proxy.heads == []
    proxy.close()


async def test_the_other_sides_certificate_is_verified_through_it(
    proxies: MakeProxy, monkeypatch: Any, pair: Any
) -> None:
    server = await asyncio.get_running_loop().create_server(Greeter, "127.0.0.1", 0, ssl=server_context(*pair))
    proxy = await proxies(server.sockets[0].getsockname()[1]).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await SystemSockets().connect(Talk, "other.example", 443, tls=trusting(pair))
    transport, _ = await SystemSockets().connect(
        Talk, "192.0.2.1", 443, tls=trusting(pair), server_name="relay.example"
    )
    transport.abort()
    server.close()
    proxy.close()


async def test_a_stream_that_ends_during_its_tls_handshake_is_unavailable(
    proxies: MakeProxy, monkeypatch: Any, pair: Any
) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    proxy = await proxies(server.sockets[0].getsockname()[1]).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises((Unavailable, ssl.SSLError)):
        await SystemSockets().connect(Talk, "relay.example", 443, tls=trusting(pair))
    server.close()
    proxy.close()


async def test_who_gives_up_waiting_leaves_nothing_behind(
    proxies: MakeProxy, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = await proxies(answer=b"").start()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    connecting = asyncio.create_task(SystemSockets().connect(Talk, "relay.example", 80))
    while not proxy.heads:
        await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    proxy.close()
    await asyncio.sleep(0)
    assert caplog.records == []


HEAD = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"


@given(st.lists(st.integers(1, len(HEAD)), max_size=8), st.binary(max_size=20))
def test_however_its_answer_is_cut_it_is_understood(cuts: list[int], rest: bytes) -> None:
    async def scenario() -> None:
        asking = Asking(Proxy("proxy.example", 3128, False, "HTTP_PROXY"), "relay.example", 443)
        for chunk in _cut(HEAD + rest, cuts):
            asking.data_received(chunk)
        await asking.consent()
        assert asking.rest == rest

    asyncio.run(scenario())


def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        if data:
            yield data[:size]
            data = data[size:]
    if data:
        yield data


@pytest.mark.parametrize(
    ("environment", "tls", "expected"),
    [
        ({}, True, None),
        ({"HTTPS_PROXY": "http://p:1"}, True, "the proxy p:1 of HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://p:1"}, False, None),
        ({"HTTP_PROXY": "p"}, False, "the proxy p:80 of HTTP_PROXY"),
        ({"HTTP_PROXY": "https://p"}, False, "the proxy p:443 of HTTP_PROXY"),
        ({"ALL_PROXY": "http://[fd00::1]:3"}, True, "the proxy [fd00::1]:3 of ALL_PROXY"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:1"}, True, "the proxy b:1 of HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:1"}, True, "the proxy b:1 of HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, True, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example"}, True, "the proxy p:1 of HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example, .example"}, True, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, True, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "192.0.2.7"}, True, None),
    ],
)
def test_the_environment_names_it(
    environment: dict[str, str], tls: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for("192.0.2.7", tls=tls, name="relay.example")
    assert (str(found) if found else None) == expected


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_reached_directly(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    assert proxy_for(host, tls=True) is None


@pytest.mark.parametrize("value", ["socks5://p:1", "http://", "http://[::1", "http://p:99999", "http://user:pass@:1"])
def test_one_that_makes_no_sense_is_told_without_its_secrets(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(
        Unavailable, match=r"^HTTPS_PROXY names no HTTP proxy: set it to http://HOST:PORT, or unset it$"
    ):
        proxy_for("relay.example", tls=True)


@pytest.mark.skipif(shutil.which("tinyproxy") is None, reason="needs tinyproxy")
async def test_a_stock_proxy_lets_us_through(
    target: Any, elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, tls = target
    with socket.create_server(("127.0.0.1", 0)) as free:
        listening = free.getsockname()[1]
    (tmp_path / "tinyproxy.conf").write_text(
        f"Port {listening}\nListen 127.0.0.1\nAllow 127.0.0.1\nBasicAuth user secret\nMaxClients 10\nTimeout 30\n"
    )
    stock = await asyncio.create_subprocess_exec(
        *("tinyproxy", "-d", "-c", str(tmp_path / "tinyproxy.conf")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert stock.stdout is not None
    try:
        await asyncio.wait_for(stock.stdout.readuntil(b"Accepting connections"), 10)
        monkeypatch.setenv("ALL_PROXY", f"http://user:secret@127.0.0.1:{listening}")
        assert await converse("127.0.0.1", port, tls) == b"welcome hello"
        monkeypatch.setenv("ALL_PROXY", f"http://user:wrong@127.0.0.1:{listening}")
        with pytest.raises(Unavailable, match=r"the proxy .* of ALL_PROXY (does not accept|answered 401)"):
            await converse("127.0.0.1", port, tls)
    finally:
        stock.terminate()
        await stock.communicate()
