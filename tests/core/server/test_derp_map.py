"""DERP maps from files and URLs: read, checked, kept in step, written."""

import asyncio
import contextlib
import http.server
import json
import logging
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.config import CHECKS
from ghostwire.errors import GhostwireError, RemoteProtocolError, Unavailable
from ghostwire.server.relays import derp_map, fetching
from ghostwire.server.relays.derp_map_source import EVERY_FILE, EVERY_URL, DerpMapSource
from ghostwire.server.relays.fetching import Text
from ghostwire.testing import simulated

NODE = {"Name": "1a", "RegionID": 1, "HostName": "derp1a.example.com"}
REGION = {"RegionID": 1, "RegionCode": "nyc", "RegionName": "New York City", "Nodes": [NODE]}


def text(*nodes, **region):
    made = {**REGION, **({"Nodes": list(nodes)} if nodes else {}), **region}
    return json.dumps({"Regions": {str(made["RegionID"]): made}}).encode()


def node(**fields):
    return {**NODE, **fields}


# -- reading


def test_a_node_is_a_relay_with_the_fields_defaults():
    (relay,) = derp_map.parse(text())
    assert (relay.name, relay.region, relay.region_name) == ("1a", 1, "New York City")
    assert (relay.host, relay.port, relay.stun_port, relay.tls) == ("derp1a.example.com", 443, 3478, True)
    assert (relay.certificate, relay.key, relay.source) == ("", None, "derpmap")


def test_all_that_a_node_says_is_taken_over():
    pin = "sha256-raw:" + "AB" * 32
    more = node(DERPPort=8443, STUNPort=-1, IPv4="192.0.2.1", IPv6="none", CertName=pin, CanPort80=True)
    (relay,) = derp_map.parse(text(more))
    assert (relay.port, relay.stun_port, relay.ipv4, relay.ipv6) == (8443, 0, "192.0.2.1", "none")
    assert relay.certificate == "ab" * 32


def test_what_is_no_relay_is_left_out():
    assert derp_map.parse(b"{}") == derp_map.parse(b'{"Regions": null}') == []
    assert derp_map.parse(b'{"Regions": {"1": null, "2": {"RegionID": 2, "Nodes": null}}}') == []
    assert [relay.name for relay in derp_map.parse(text(node(Name="s", STUNOnly=True), node()))] == ["1a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"\xff", ""),
        (b"[]", "object"),
        (b'{"Regions": []}', "Regions"),
        (b'{"Regions": {"1": 7}}', "region 1: "),
        (text(RegionID=0), "region 0: "),
        (json.dumps({"Regions": {"2": REGION}}).encode(), "region 2 (New York City): its RegionID is 1"),
        (text({}), "region 1 (New York City), node 1: "),
        (text(node(), node(Name="1b", DERPPort="443")), "region 1 (New York City), node 2: "),
        (text(node(DERPPort=70000)), "node 1: "),
        (text(node(STUNPort=-2)), "node 1: "),
        (text(node(RegionID=3)), "node 1a: its RegionID is 3"),
        (text(node(HostName="")), "node 1a: it has no HostName"),
        (text(node(HostName="a\x1b[2J")), "node 1a: it has no HostName"),
        (text(node(InsecureForTests=True)), "node 1a: InsecureForTests"),
        (text(node(CertName="front.example.com")), "node 1a: CertName 'front.example.com'"),
        (text(node(CertName="sha256-raw:ab")), "node 1a: CertName"),
        (text(node(IPv4="2001:db8::1")), "node 1a: '2001:db8::1' is no IPv4 address"),
        (text(node(IPv6="nowhere")), "node 1a: 'nowhere' is no IPv6 address"),
        (text(node(), node()), "two nodes are called 1a"),
        (b" " * (derp_map.MAX_BYTES + 1), "bytes"),
    ],
)
def test_a_wrong_map_is_refused_by_region_and_node(content, said):
    with pytest.raises(RemoteProtocolError) as caught:
        derp_map.parse(content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["Regions", "1", "Nodes", "RegionID", "Name"]), inner)).map(lambda value: json.dumps(value).encode()))  # fmt: skip # noqa: E501
def test_whatever_it_holds_it_is_read_or_refused(content):
    with contextlib.suppress(RemoteProtocolError):
        derp_map.parse(content)


NAMES = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)
RELAY = st.fixed_dictionaries(
    {
        "Name": NAMES,
        "HostName": NAMES,
        "DERPPort": st.integers(1, 65535),
        "STUNPort": st.sampled_from([-1, 1, 3478]),
        "IPv4": st.sampled_from(["192.0.2.1", "none"]),
        "CertName": st.sampled_from(["sha256-raw:" + "cd" * 32]),
    }
)


@settings(deadline=None)
@given(st.lists(RELAY, unique_by=lambda relay: relay["Name"], min_size=1))
def test_a_map_that_is_written_says_what_was_read(nodes):
    relays = derp_map.parse(text(*nodes))
    written = derp_map.render(relays)
    again = derp_map.parse(json.dumps(written).encode())
    assert again == relays
    assert written["Regions"]["1"]["Nodes"] == [{**node, "RegionID": 1} for node in nodes]


# -- following


class Place:
    """Where a map is: what a read finds, and how often there was one."""

    def __init__(self, content: bytes) -> None:
        self.content: bytes | GhostwireError = content
        self.reads = 0

    def read(self, place: str, mark: str) -> Text | None:
        self.reads += 1
        if isinstance(self.content, GhostwireError):
            raise self.content
        now = str(hash(self.content))
        return None if now == mark else Text(self.content, now)


@pytest.fixture
def follow(monkeypatch):
    """``await follow(rig, place)``: a source of that place, whose reads take no thread."""

    async def at_once(function, *arguments):
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)

    async def start(rig, place, where="https://maps.example.com/derp.json"):
        source = DerpMapSource(rig.plane.mesh, where, logging.getLogger("ghostwire.server"), read=place.read)
        await source.start()
        await rig.settle()
        return source

    return start


@simulated
async def test_a_maps_relays_are_the_meshs_and_follow_its_changes(serve, follow):
    async with serve() as rig:
        (viewer,) = await rig.clients(1)
        place = Place(text(node(), node(Name="1b", HostName="b")))
        source = await follow(rig, place)
        ids = {name: relay.id for name, relay in rig.relays.items()}
        assert sorted(ids) == ["1a", "1b"]
        revision = rig.plane.mesh.state.revision
        await asyncio.sleep(EVERY_URL + 1)
        assert (place.reads, rig.plane.mesh.state.revision) == (2, revision)
        place.content = text(node(HostName="moved.example.com"), node(Name="1c", HostName="c"))
        await asyncio.sleep(EVERY_URL)
        assert sorted(rig.relays) == ["1a", "1c"]
        assert rig.relays["1a"].id == ids["1a"]
        assert sorted(relay.host for relay in viewer.read().relays.values()) == ["c", "moved.example.com"]
        await source.close()


@simulated
async def test_a_map_that_is_away_or_wrong_leaves_the_last_one(serve, follow, caplog):
    async with serve() as rig:
        place = Place(text())
        source = await follow(rig, place)
        for content, said in ((Unavailable("no answer"), "no answer"), (text(node(DERPPort="x")), "node 1: ")):
            place.content = content
            await asyncio.sleep(3 * EVERY_URL)
            assert list(rig.relays) == ["1a"]
            assert sum(said in record.getMessage() for record in caplog.records) == 1  # not each time
        place.content = text(node(HostName="back.example.com"))
        await asyncio.sleep(EVERY_URL)
        assert rig.relays["1a"].host == "back.example.com"
        await source.close()


@simulated
async def test_a_server_that_has_no_map_any_more_drops_its_relays(serve, follow):
    async with serve() as rig:
        await (await follow(rig, Place(text()))).close()
        await rig.add_relay("ours")
        await rig.restart()
        place = Place(text())
        await follow(rig, place, "")
        assert (list(rig.relays), place.reads) == (["ours"], 0)


@simulated
async def test_what_the_operator_decided_of_a_relay_outlives_a_change_of_the_map(serve, follow, api):
    async with serve() as rig, api(rig) as client:
        place = Place(text())
        source = await follow(rig, place)
        await client.patch("/api/v1/relays/1a", json={"capacity": 7})
        await client.post("/api/v1/relays/1a/drain")
        place.content = text(node(DERPPort=1))
        await asyncio.sleep(EVERY_URL)
        relay = rig.relays["1a"]
        assert (relay.port, relay.capacity, relay.draining) == (1, 7, True)
        await source.close()


@simulated
async def test_a_map_does_not_take_the_names_or_regions_of_the_meshs_own_relays(serve, follow, caplog):
    async with serve() as rig:
        await rig.add_relay("ours", region=900)
        place = Place(text(node(RegionID=0), RegionID=900))
        source = await follow(rig, place)
        assert "region 900 (New York City): in this mesh it is called north" in caplog.text
        place.content = text(node(Name="ours", RegionID=0), RegionID=900, RegionName="north")
        await asyncio.sleep(EVERY_URL)
        assert "node ours: another relay" in caplog.text
        place.content = text(node(Name="embedded"))
        await asyncio.sleep(EVERY_URL)
        assert "node embedded: the server's own" in caplog.text
        place.content = text(node(RegionID=0), RegionID=900, RegionName="north")
        await asyncio.sleep(EVERY_URL)
        assert sorted(rig.relays) == ["1a", "ours"]
        await source.close()


@simulated
async def test_a_file_is_looked_at_more_often_and_read_only_when_it_changed(serve, follow, tmp_path):
    async with serve() as rig:
        path = tmp_path / "derp.json"
        path.write_bytes(text())
        reads = []

        class File:
            def read(self, place, mark):
                reads.append(found := fetching.read(place, mark))
                return found

        source = await follow(rig, File(), str(path))
        await asyncio.sleep(EVERY_FILE)
        assert [found is None for found in reads] == [False, True]
        path.write_bytes(text(node(Name="1b")))
        await asyncio.sleep(EVERY_FILE)
        assert list(rig.relays) == ["1b"]
        path.unlink()
        await asyncio.sleep(EVERY_FILE)
        assert list(rig.relays) == ["1b"]
        await source.close()


# -- fetching


class Web(http.server.BaseHTTPRequestHandler):
    """Answers by path; an ETag is the path."""

    def do_GET(self) -> None:
        if self.path == "/long":
            return self.answer(200, b"x" * (derp_map.MAX_BYTES + 1))
        if self.path == "/away":
            return self.answer(302, b"", Location="http://192.0.2.1/map")
        if self.path == "/disk":
            return self.answer(302, b"", Location="file:///etc/passwd")
        if self.path == "/round":
            return self.answer(302, b"", Location="/map")
        if self.path == "/drips":
            return self.drip()
        if self.path == "/kept":
            self.answer(200, text())
            self.rfile.read(1)  # until the client goes
            return None
        if self.path == "/broken":
            return self.answer(500, b"")
        if self.headers.get("If-None-Match") == "mark":
            return self.answer(304, b"")
        return self.answer(200, text(), ETag="mark")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b"x")
                time.sleep(0.02)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_url_is_read_and_not_read_again_where_it_did_not_change(web):
    found = fetching.read(f"{web}/map", "")
    assert found == Text(text(), "mark")
    assert fetching.read(f"{web}/round", "") == found
    assert fetching.read(f"{web}/map", "mark") is None


@pytest.mark.parametrize(
    ("path", "said"), [("/away", "https"), ("/disk", "302"), ("/broken", "status 500"), ("/long", "longer")]
)
def test_a_url_that_leads_astray_or_has_no_end_is_refused(web, path, said):
    with pytest.raises(GhostwireError, match=said):
        fetching.read(web + path, "")


def test_an_answer_that_comes_by_drips_is_given_up(web, monkeypatch):
    monkeypatch.setattr(fetching, "PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not come within"):
        fetching.read(f"{web}/drips", "")
    assert time.monotonic() - began < 5


def test_a_server_that_keeps_the_connection_is_not_waited_for(web):
    began = time.monotonic()
    assert fetching.read(f"{web}/kept", "") is not None
    assert time.monotonic() - began < 5


def test_a_place_that_is_not_there_is_one_line(tmp_path):
    for place in (str(tmp_path / "nothing"), str(tmp_path), "http://127.0.0.1:1/map"):
        with pytest.raises(Unavailable) as caught:
            fetching.read(place, "")
        assert place in str(caught.value)


def test_a_large_file_is_refused(tmp_path):
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, derp_map.MAX_BYTES + 1)
    with pytest.raises(RemoteProtocolError, match="longer"):
        fetching.read(str(path), "")


@pytest.mark.parametrize("place", ["", "/etc/derp.json", "derp.json", "https://maps.example.com/derp.json", "http://127.0.0.1/m", "http://[::1]:80/m", "http://localhost/m"])  # fmt: skip # noqa: E501
def test_good_places(place):
    CHECKS["server", "derp_map"](place)


@pytest.mark.parametrize("place", ["http://maps.example.com/m", "ftp://h/m", "file:///m", "https://", "http://10.0.0.1/m", "http://localhost.example.com/m"])  # fmt: skip # noqa: E501
def test_places_that_others_could_change_on_the_way_are_refused(place):
    with pytest.raises(ValueError, match="https"):
        CHECKS["server", "derp_map"](place)
