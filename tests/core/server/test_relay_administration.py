"""Relays over the server's API."""

import asyncio

import pytest

from ghostwire.testing import simulated
from ghostwire.wire.messages import Refused, RelayWelcome, Report

PATH = "/api/v1/relays"


def order(name="a", **fields):
    return {"name": name, "region": "north", "host": f"{name}.example.com", **fields}


async def create(client, name="a", **fields):
    answer = await client.post(PATH, json=order(name, **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def secret_of(made):
    return made["token"].removeprefix("token of ")


@simulated
async def test_strangers_get_nothing(serve, api):
    async with serve() as rig, api(rig, admin=False) as client:
        for method, path in (
            ("GET", PATH),
            ("POST", PATH),
            ("GET", f"{PATH}/1"),
            ("PATCH", f"{PATH}/1"),
            ("DELETE", f"{PATH}/1"),
            ("POST", f"{PATH}/1/drain"),
            ("POST", f"{PATH}/1/undrain"),
            ("GET", "/api/v1/derpmap"),
        ):
            assert (await client.request(method, path)).status_code == 401, path


@simulated
async def test_a_relay_is_made_enrols_by_its_token_and_is_shown_with_all_that_is_known(serve, api):
    async with serve() as rig, api(rig) as client:
        made = await create(client, capacity=50)
        shown = made["relay"]
        assert (shown["state"], shown["region"]) == ("waiting", {"id": 900, "name": "north"})
        assert shown["token_expires"] == rig.plane.mesh.now() + 3600
        relay = rig.relay(1)
        await relay.join(secret_of(made), version="1.2\x1b", certificate="ab" * 32)
        relay.loaded(7)
        shown = (await client.get(f"{PATH}/a")).json()
        assert (shown["state"], shown["clients"], shown["version"]) == ("connected", 7, "1.2")
        assert (shown["key"], shown["certificate"], shown["capacity"]) == (str(relay.key), "ab" * 32, 50)
        assert shown["token_expires"] is None
        assert "digest" not in shown
        assert [shown] == (await client.get(PATH)).json()["relays"]
        assert shown == (await client.get(f"{PATH}/{shown['id']}")).json()
        relay.leave()
        await rig.settle()
        assert (await client.get(f"{PATH}/a")).json()["state"] == "away"


@simulated
async def test_a_token_ends_when_it_was_said_to(serve, api):
    async with serve() as rig, api(rig) as client:
        made = await create(client, ttl_seconds=60)
        await asyncio.sleep(61)
        assert (await client.get(f"{PATH}/a")).json()["state"] == "token expired"
        assert "expired" in (await rig.relay(1).refused(secret_of(made))).message


@simulated
async def test_regions_keep_their_numbers_and_new_ones_get_the_next_free(serve, api):
    async with serve() as rig, api(rig) as client:
        regions = [("a", {}), ("b", {"region": "south"}), ("c", {}), ("d", {"region": "east", "region_id": 17})]
        ids = [(await create(client, name, **fields))["relay"]["region"]["id"] for name, fields in regions]
        assert ids == [900, 901, 900, 17]
        for wrong in ({"region": "north", "region_id": 901}, {"region": "new", "region_id": 17}):
            assert (await client.post(PATH, json=order("e", **wrong))).status_code == 409
        await client.delete(f"{PATH}/a")
        assert (await create(client, "f", region="west"))["relay"]["region"]["id"] == 902
        assert (await create(client, "g"))["relay"]["region"]["id"] == 900
        assert rig.plane.describe()["relays"] == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Not A Label"},
        {"name": "7"},
        {"name": "embedded"},
        {"region": " "},
        {"region": "x" * 65},
        {"region_id": 0},
        {"region_id": 65536},
        {"host": ""},
        {"host": "a b"},
        {"host": "http://a"},
        {"host": "1.2.3"},
        {"host": "a.example.com:80"},
        {"port": 0},
        {"stun_port": 65536},
        {"capacity": 0},
        {"ipv4": "2001:db8::1"},
        {"ipv6": "192.0.2.1"},
        {"ttl_seconds": 10**9},
        {"key": "derpkey:" + "00" * 32},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(serve, api, wrong):
    @simulated
    async def run():
        async with serve() as rig, api(rig) as client:
            answer = await client.post(PATH, json=order(**wrong) if "name" not in wrong else {**order(), **wrong})
            assert answer.status_code == 400, answer.text
            assert rig.relays == {}

    run()


@simulated
async def test_a_name_is_one_relays(serve, api):
    async with serve() as rig, api(rig) as client:
        await create(client)
        answer = await client.post(PATH, json=order())
        assert (answer.status_code, "relays delete" in answer.json()["error"]["message"]) == (409, True)


@simulated
async def test_a_relay_is_changed_and_nodes_follow(serve, api):
    async with serve() as rig, api(rig) as client:
        (relay,) = await rig.relays_of("a")
        (node,) = await rig.clients(1)
        body = {"host": "192.0.2.7", "port": 443, "ipv6": "none", "stun_port": 19302, "capacity": 3}
        changed = (await client.patch(f"{PATH}/a", json=body)).json()
        assert {name: changed[name] for name in body} == body
        await rig.settle()
        (seen,) = node.read().relays.values()
        assert (seen.host, seen.port, seen.ipv6, seen.stun_port) == ("192.0.2.7", 443, "none", 19302)
        await relay.join(stun_port=3478)
        assert rig.relays["a"].stun_port == 19302, "the operator's word counts"
        assert (await client.patch(f"{PATH}/a", json={"ipv6": ""})).json()["ipv6"] == ""
        assert (await client.patch(f"{PATH}/a", json={"region_id": 905})).json()["region"]["id"] == 905
        assert (await client.patch(f"{PATH}/a", json={"name": "b"})).status_code == 400
        assert (await client.patch(f"{PATH}/b", json={"capacity": 1})).status_code == 404


@simulated
async def test_who_leaves_a_region_does_not_know_its_new_key(serve, api):
    async with serve() as rig, api(rig) as client:
        first, second, third = await rig.relays_of("a", "b", "c")
        old = first.stream.of(RelayWelcome)[0].mesh_key
        await client.delete(f"{PATH}/c")
        assert third.stream.of(Refused)[0].code == "removed"
        assert first.stream.of(Refused)[0].code == "busy"
        new = {(await relay.join()).mesh_key for relay in (first, second)}
        assert len(new) == 1
        assert old not in new
        await client.patch(f"{PATH}/b", json={"region": "south"})
        assert (await first.join()).mesh_key not in new
        assert (await second.join()).relay.region == 901


@simulated
async def test_a_region_that_a_relay_passed_through_on_its_way_out_has_a_new_key_too(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.relays_of("a")
        (other,) = await rig.relays_of("c", region=901, region_name="south")
        old = other.stream.of(RelayWelcome)[0].mesh_key
        move, delete = client.patch(f"{PATH}/a", json={"region": "south"}), client.delete(f"{PATH}/a")
        assert [answer.status_code for answer in await asyncio.gather(move, delete)] == [200, 200]
        assert other.stream.of(Refused)[0].code == "busy"
        assert (await other.join()).mesh_key != old


@simulated
async def test_a_relay_alone_in_its_region_keeps_the_regions_number_whatever_it_is_called(serve, api):
    async with serve() as rig, api(rig) as client:
        await create(client, "a")
        await create(client, "b", region="south")
        await client.delete(f"{PATH}/a")
        for name in ("south", "deep south"):
            changed = (await client.patch(f"{PATH}/b", json={"region": name})).json()
            assert changed["region"] == {"id": 901, "name": name}


@simulated
async def test_a_relay_that_never_enrolled_moves_and_goes_and_leaves_the_others_their_key(serve, api):
    async with serve() as rig, api(rig) as client:
        (relay,) = await rig.relays_of("a")
        key = relay.stream.of(RelayWelcome)[0].mesh_key
        await create(client, "b")
        await create(client, "c")
        assert (await client.patch(f"{PATH}/c", json={"region": "south"})).status_code == 200
        assert (await client.delete(f"{PATH}/b")).status_code == 200
        assert not relay.stream.closed
        assert (await relay.join()).mesh_key == key, "who comes back meshes with who stayed"


@simulated
async def test_a_relay_is_drained_and_says_when_it_is_done(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.relays_of("a", "b")
        for node in await rig.clients(8):
            node.stream.say(Report(session=1, sequence=1, home=900))
        drained = (await client.post(f"{PATH}/a/drain")).json()
        assert (drained["draining"], drained["nodes"] > 0, drained["takers"]) == (True, True, 1)
        await asyncio.sleep(10)
        assert (await client.get(f"{PATH}/a")).json()["nodes"] == 0
        other = (await client.get(f"{PATH}/b")).json()
        assert (other["nodes"], other["takers"]) == (8, 0)
        assert not (await client.post(f"{PATH}/a/undrain")).json()["draining"]


@simulated
async def test_a_nodes_home_is_shown(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.relays_of("a")
        first, _ = await rig.clients(2)
        first.stream.say(Report(session=1, sequence=1, home=900))
        nodes = (await client.get("/api/v1/nodes")).json()["nodes"]
        assert [node["home"] for node in nodes] == [{"region": {"id": 900, "name": "north"}, "relay": "a"}, None]


@simulated
async def test_what_others_keep_is_not_changed_here(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.add_relay("stock", source="derpmap")
        await rig.add_relay("embedded", source="embedded")
        for name, word in (("stock", "DERP map"), ("embedded", "server's own")):
            refused = await client.delete(f"{PATH}/{name}")
            assert (refused.status_code, word in refused.json()["error"]["message"]) == (409, True)
            assert (await client.patch(f"{PATH}/{name}", json={"host": "h"})).status_code == 409
            assert (await client.patch(f"{PATH}/{name}", json={"capacity": 9})).json()["capacity"] == 9
            assert (await client.post(f"{PATH}/{name}/drain")).json()["draining"]
        states = {relay["name"]: relay["state"] for relay in (await client.get(PATH)).json()["relays"]}
        assert states == {"stock": "unwatched", "embedded": "connected"}


@simulated
async def test_all_relays_are_a_derp_map(serve, api):
    async with serve() as rig, api(rig) as client:
        await create(client, "waiting")
        await rig.relays_of("a", region_name="North Pole", ipv4="192.0.2.1")
        await rig.add_relay("b", stun_port=0, certificate="cd" * 32, region_name="North Pole", ipv6="none")
        found = (await client.get("/api/v1/derpmap")).json()
        (region,) = found["Regions"].values()
        assert (region["RegionID"], region["RegionCode"], region["RegionName"]) == (900, "north-pole", "North Pole")
        names = [node["Name"] for node in region["Nodes"]]
        assert names == ["a", "b"]
        assert region["Nodes"][0]["IPv4"] == "192.0.2.1"
        assert region["Nodes"][1] == {
            "Name": "b",
            "RegionID": 900,
            "HostName": "b.example.com",
            "DERPPort": 443,
            "STUNPort": -1,
            "IPv6": "none",
            "CertName": "sha256-raw:" + "cd" * 32,
        }
