"""A relay's round trip over HTTP: one request, timed; whoever is no relay is no answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import AuthenticationFailed, RemoteProtocolError, Unavailable
from ghostwire.frontdoor.certificate import ensure_certificate, fingerprint, server_context
from ghostwire.model import MapRelay
from ghostwire.node.netcheck import https
from ghostwire.testing import ManualClock, Network, running_clock, simulated

HOST = "192.0.2.1"


class Answering(asyncio.Protocol):
    """Says one thing to whoever asks."""

    def __init__(self, answer: bytes, asked: list[bytes]) -> None:
        self._answer, self._asked = answer, asked

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked.append(data)
        if self._answer:
            self._transport.write(self._answer)
        else:
            self._transport.abort()


def relay(**changes: Any) -> MapRelay:
    fields: dict[str, Any] = {"host": HOST, "port": 443, "tls": False, **changes}
    return MapRelay(id=1, name="r", region=1, region_name="one", **fields)


FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PLAIN = relay()


async def measured(answer: bytes, asked: list[bytes], relay: MapRelay = PLAIN, tls: Any = None) -> int:
    network = Network()
    network.host("relay", HOST).listen(443, lambda: Answering(answer, asked), tls=tls)
    client = network.host("client", "192.0.2.9")
    return await https.round_trip(relay, client.sockets, running_clock())


@simulated
async def test_the_time_from_request_to_answer_is_measured_without_connecting() -> None:
    asked: list[bytes] = []
    assert await measured(FINE, asked) == 20 * MILLISECOND
    assert asked == [b"GET /derp/latency-check HTTP/1.1\r\nHost: 192.0.2.1:443\r\nConnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", RemoteProtocolError),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", RemoteProtocolError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, RemoteProtocolError),
        (b"", Unavailable),
    ],
    ids=["not found", "redirected", "no HTTP", "endless head", "reset"],
)
@simulated
async def test_who_is_no_relay_is_no_answer(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await measured(answer, [])


@simulated
async def test_an_answer_is_given_with_its_status_and_headers_whatever_it_is() -> None:
    network, asked = Network(), list[bytes]()
    answer = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"
    network.host("relay", HOST).listen(443, lambda: Answering(answer, asked))
    client = network.host("client", "192.0.2.9")
    found = await https.ask(PLAIN, "/x", client.sockets, running_clock(), [("X-Tailscale-Challenge", "gw-1")])
    assert (found.status, found.headers[b"location"], found.took) == (302, b"/login", 20 * MILLISECOND)
    assert b"GET /x HTTP/1.1\r\n" in asked[0]
    assert b"\r\nX-Tailscale-Challenge: gw-1\r\n" in asked[0]


@simulated
async def test_a_relay_that_nobody_is_at_is_unavailable() -> None:
    client = Network().host("client", "192.0.2.9")
    with pytest.raises(Unavailable):
        await https.round_trip(PLAIN, client.sockets, running_clock())


@pytest.mark.parametrize("genuine", [True, False])
@simulated
async def test_over_tls_nothing_is_asked_of_a_relay_without_the_pinned_certificate(
    tmp_path: Path, genuine: bool
) -> None:
    pair = ensure_certificate(tmp_path, {HOST}, running_clock().wall() // SECOND)
    pinned = relay(tls=True, certificate=fingerprint(pair[0]) if genuine else "00" * 32)
    asked: list[bytes] = []
    if genuine:
        assert await measured(FINE, asked, pinned, server_context(*pair)) == 20 * MILLISECOND
    else:
        with pytest.raises(AuthenticationFailed):
            await measured(FINE, asked, pinned, server_context(*pair))
    assert bool(asked) is genuine


@simulated
async def test_a_certificate_that_nobody_vouches_for_is_told_in_a_line(tmp_path: Path) -> None:
    pair = ensure_certificate(tmp_path, {HOST}, running_clock().wall() // SECOND)
    with pytest.raises(AuthenticationFailed, match=r"relay r \(192.*\): its certificate is not trusted \(self-signed"):
        await measured(FINE, [], relay(tls=True), server_context(*pair))


@pytest.mark.parametrize(
    ("places", "connected"),
    [
        ({}, "192.0.2.1"),
        ({"ipv4": "192.0.2.2", "ipv6": "2001:db8::2"}, "192.0.2.2"),
        ({"ipv6": "2001:db8::2"}, "192.0.2.1"),
        ({"ipv4": "none"}, "192.0.2.1"),
        ({"ipv4": "none", "ipv6": "2001:db8::2"}, "2001:db8::2"),
    ],
)
def test_the_maps_address_goes_before_the_name_and_ipv4_before_ipv6(
    kit: Any, places: dict[str, str], connected: str
) -> None:
    with pytest.raises(Unavailable, match=f"no way to {connected}$"):
        asyncio.run(https.round_trip(relay(**places), kit.NoWayOut(), ManualClock()))
