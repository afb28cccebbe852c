"""The UPnP client against a router on the simulated network: leases, taken ports, and routers that lead astray."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.errors import RemoteProtocolError, Unavailable
from ghostwire.node.portmap import http, mapping
from ghostwire.node.portmap.http import LONGEST_BODY, Question
from ghostwire.testing import Network, simulated

from .conftest import GATEWAY, LOCAL, OUTSIDE, PORT, HttpServer

UPNP = frozenset({"UPnP"})
HOUR = 3600


@pytest.mark.parametrize(
    ("version", "actions"),
    [
        (2, ["AddAnyPortMapping"]),
        (1, ["AddPortMapping"]),
    ],
)
@simulated
async def test_each_version_of_the_service_is_asked_in_its_own_way(home, version, actions):
    house = home(speaks=UPNP, version=version)
    await house.started()
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT}"
    assert house.router.mappings == {PORT: (LOCAL, PORT, house.router.mappings[PORT][2])}
    said = [line.removeprefix("UPnP ") for line in house.router.asked if line.startswith("UPnP ")]
    assert [line for line in said if line != "search"] == ["GetExternalIPAddress", *actions]


@pytest.mark.parametrize("number", [402, 725])
@pytest.mark.parametrize("version", [1, 2])
@simulated
async def test_a_router_without_leases_gets_a_mapping_without_an_end_which_is_deleted_all_the_same(
    home, number, version
):
    house = home(speaks=UPNP, version=version, only_permanent=number)
    await house.started()
    assert house.router.mappings == {PORT: (LOCAL, PORT, None)}
    await asyncio.sleep(5 * HOUR)
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT}"
    await house.mapping.close()
    assert house.router.mappings == {}


@simulated
async def test_where_the_port_is_taken_another_is_tried(home):
    house = home(speaks=UPNP, version=1, taken={PORT})
    await house.started()
    ((outside, held),) = house.router.mappings.items()
    assert outside != PORT
    assert held[:2] == (LOCAL, PORT)
    assert house.mapping.mapped == f"{OUTSIDE}:{outside}"
    await house.mapping.close()
    assert house.router.mappings == {}


@simulated
async def test_where_every_port_is_taken_it_is_given_up(home):
    house = home(speaks=UPNP, version=1, taken=set(range(65536)))
    await house.started()
    assert house.router.asked.count("UPnP AddPortMapping") == 4
    assert "UPnP: AddPortMapping was refused: 718" in house.mapping.trouble


@pytest.mark.parametrize("outside", ["0.0.0.0", "192.168.0.2", "100.64.1.1", "", "evil", "::1", "203.0.113.7:80"])
@simulated
async def test_a_router_without_an_address_that_others_reach_maps_nothing(home, outside):
    house = home(speaks=UPNP, outside=outside)
    await house.started()
    assert (house.mapping.mapped, house.router.mappings) == ("", {})
    assert "UPnP: the router has no outside address that others can reach" in house.mapping.trouble


@pytest.mark.parametrize("location", ["http://10.0.0.66:5000/desc.xml", "http://evil.example/", "ftp://10.0.0.1/"])
@simulated
async def test_a_description_elsewhere_is_never_fetched(home, location):
    house = home(speaks=UPNP, location=location)
    fetched: list[Any] = []
    house.network.host("evil", "10.0.0.66").listen(5000, lambda: fetched.append(1) or asyncio.Protocol())
    await house.started()
    assert fetched == []
    assert house.mapping.trouble.endswith("UPnP: no answer")


@simulated
async def test_a_control_url_elsewhere_is_never_asked(home):
    house = home(speaks=UPNP, control="http://10.0.0.66:5000/ctl")
    fetched: list[Any] = []
    house.network.host("evil", "10.0.0.66").listen(5000, lambda: fetched.append(1) or asyncio.Protocol())
    await house.started()
    assert fetched == []
    assert house.mapping.trouble.endswith("UPnP: no service that maps ports")


@simulated
async def test_a_router_whose_control_url_moved_is_searched_anew(home):
    house = home(speaks=UPNP)
    await house.started()
    house.router.location = f"http://{GATEWAY}:5001/desc.xml"
    house.router.host.listeners[5001] = house.router.host.listeners.pop(5000)
    await asyncio.sleep(1.1 * HOUR)
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT}"
    assert house.router.asked.count("UPnP AddAnyPortMapping") == 2


class Answering(asyncio.Protocol):
    """Says one thing to whoever asks, then closes or goes on."""

    def __init__(self, *pieces: bytes, close: bool = True) -> None:
        self.pieces, self.close = pieces, close

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for piece in self.pieces:
            self.transport.write(piece)
        if self.close:
            self.transport.close()


async def fetched(*pieces: bytes, close: bool = True) -> http.Answer:
    network = Network()
    network.host("router", GATEWAY).listen(80, lambda: Answering(*pieces, close=close))
    return await http.ask(Question(f"http://{GATEWAY}/x"), GATEWAY, network.host("node", LOCAL).sockets)


@simulated
async def test_an_answer_is_read_whole_however_it_is_framed():
    for head in (
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello",
    ):
        answer = await fetched(b"HTTP/1.1 200 OK\r\n", head)
        assert (answer.status, bytes(answer.body)) == (200, b"hello")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"], "no HTTP"),
        ([b"SSH-2.0-x\r\n\r\n"], "no HTTP"),
        ([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000], "no HTTP"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (LONGEST_BODY + 1)], "more than 65536 bytes"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"x" * (LONGEST_BODY + 1)], "more than 65536 bytes"),
        ([b"HTTP/1.1 100 Go on\r\n\r\n"] * 2000, "in more than 1024 pieces"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2000], "in more than 1024 pieces"),
        ([b"HTTP/1.1 100 Go on\r\nA: " + b"x" * 15_000 + b"\r\n\r\n"] * 20, "an answer of more than"),
    ],
)
@simulated
async def test_answers_that_are_cut_endless_or_none_are_refused(pieces, reason):
    with pytest.raises(RemoteProtocolError, match=reason):
        await fetched(*pieces)


@pytest.mark.parametrize(
    "pieces", [[], [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], [b"HTTP/1.1 100 Go on\r\n\r\n"]]
)
@simulated
async def test_a_router_that_goes_on_for_ever_is_left(pieces):
    with pytest.raises(Unavailable, match="took over 3 s"):
        await fetched(*pieces, close=False)


@simulated
async def test_a_router_that_is_slow_all_the_time_is_left_too(home, monkeypatch):
    """Each answer is in time, and each leads to the next request."""
    monkeypatch.setattr(HttpServer, "answer", _slowly)
    monkeypatch.setattr(mapping, "PATIENCE", 10)
    house = home(speaks=UPNP, version=1, taken=set(range(65536)))
    house.mapping.start(PORT)
    await asyncio.sleep(15)
    assert house.mapping.trouble.endswith("UPnP: the router takes more than 10 s")


def _slowly(self: HttpServer, answer: Any = HttpServer.answer) -> None:
    asyncio.get_running_loop().call_later(2.9, answer, self)


@simulated
async def test_a_router_that_closes_without_a_word_has_not_answered():
    with pytest.raises((Unavailable, RemoteProtocolError)):
        await fetched()
