"""Routes from a node's report to the map of another, with administrators in between, over the server's API."""

import httpx2
import pytest

from ghostwire.config import ServerConfig
from ghostwire.frontdoor.app import application
from ghostwire.server.api.route_routes import RouteRoutes
from ghostwire.server.routes.administration import RouteAdministration
from ghostwire.testing import simulated
from ghostwire.wire.messages import Report

PATH = "/api/v1/routes"


@pytest.fixture
def routes():
    """``routes(rig)``: an administrator's client of the routes' API; ``admin=False``: a stranger's."""

    def client_of(rig, *, admin=True) -> httpx2.AsyncClient:
        plane = rig.plane
        administration = RouteAdministration(plane.mesh, plane.routes, plane.administration.node)
        app = application([RouteRoutes(plane.mesh, administration, plane.routes, plane.sessions.online)])

        async def door(scope, receive, send):
            scope["state"] = {"admin": admin, "uid": 0}
            await app(scope, receive, send)

        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=door), base_url="http://server")

    return client_of


def report(client, *prefixes: str, down: tuple[str, ...] = (), sequence: int = 1) -> None:
    client.stream.say(Report(session=1, sequence=sequence, routes=prefixes, down=down))


def carried(client) -> dict[str, bool]:
    """The routes in the node's map, and whether they are down."""
    return {route.prefix: route.down for route in client.read().routes.values()}


@simulated
async def test_peers_use_a_route_as_soon_as_it_is_approved(serve, routes):
    async with serve() as rig, routes(rig) as admin:
        router, peer = await rig.clients(2)
        report(router, "10.1.0.0/16", "fd00:1::/64")
        await rig.settle()
        assert carried(peer) == {}
        answer = await admin.post(f"{PATH}/approve", json={"node": "host1", "routes": ["10.1.0.0/16", "fd00:1::/64"]})
        assert [(each["prefix"], each["state"], each["approved_by"]) for each in answer.json()["routes"]] == [
            ("10.1.0.0/16", "approved", "root"),
            ("fd00:1::/64", "approved", "root"),
        ]
        await rig.settle()
        assert carried(peer) == carried(router) == {"10.1.0.0/16": False, "fd00:1::/64": False}


@simulated
async def test_what_a_router_cannot_reach_its_peers_learn(serve, routes):
    async with serve() as rig, routes(rig) as admin:
        router, peer = await rig.clients(2)
        report(router, "10.1.0.0/16", "10.2.0.0/16")
        await rig.settle()
        await admin.post(f"{PATH}/approve", json={"node": "host1", "routes": ["10.1.0.0/16", "10.2.0.0/16"]})
        report(router, "10.1.0.0/16", "10.2.0.0/16", down=("10.2.0.0/16",), sequence=2)
        await rig.settle()
        assert carried(peer) == {"10.1.0.0/16": False, "10.2.0.0/16": True}
        (down,) = [each for each in (await admin.get(PATH)).json()["routes"] if each["down"]]
        assert down["prefix"] == "10.2.0.0/16"
        report(router, "10.1.0.0/16", "10.2.0.0/16", sequence=3)
        await rig.settle()
        assert carried(peer) == {"10.1.0.0/16": False, "10.2.0.0/16": False}


@simulated
async def test_routes_are_listed_with_all_that_is_to_know(serve, routes):
    async with serve() as rig, routes(rig) as admin:
        first, second = await rig.clients(2)
        report(first, "10.0.0.0/8", "100.64.0.0/16")
        await rig.settle()
        await admin.post(f"{PATH}/approve", json={"node": "host1", "routes": ["10.0.0.0/8"]})
        report(second, "10.1.0.0/16")
        await rig.settle()
        answer = (await admin.get(PATH)).json()
        wide, narrow = answer["routes"]
        assert (wide["node"], wide["state"], wide["online"], wide["note"]) == (
            {"id": 1, "name": "host1"},
            "approved",
            True,
            "",
        )
        assert narrow["state"] == "waiting"
        assert narrow["note"].startswith("it overlaps 10.0.0.0/8 of host1")
        (refused,) = answer["refused"]
        assert (refused["node"]["name"], refused["prefix"]) == ("host1", "100.64.0.0/16")
        assert (await admin.get(f"{PATH}/{narrow['id']}")).json() == narrow
        only = (await admin.get(PATH, params={"node": "host2"})).json()
        assert only == {"routes": [narrow], "refused": []}
        assert (await admin.get(PATH, params={"node": "nobody"})).status_code == 404


@simulated
async def test_a_route_is_decided_by_its_id_or_prefix_and_an_exit_node_by_its_name(serve, routes):
    async with serve() as rig, routes(rig) as admin:
        (router,) = await rig.clients(1)
        report(router, "10.1.0.0/16", "0.0.0.0/0", "::/0")
        await rig.settle()

        async def decide(verb: str, route: str) -> list[str]:
            answer = await admin.post(f"{PATH}/{verb}", json={"node": "1", "routes": [route]})
            return [f"{each['prefix']} {each['state']}" for each in answer.json()["routes"]]

        assert await decide("approve", "1") == ["10.1.0.0/16 approved"]
        assert await decide("approve", "exit") == ["0.0.0.0/0 approved", "::/0 approved"]
        assert await decide("reject", "::/0") == ["::/0 rejected", "0.0.0.0/0 rejected"]
        assert (await admin.post(f"{PATH}/1/reject")).json()["routes"][0]["state"] == "rejected"
        assert (await admin.post(f"{PATH}/1/approve")).json()["routes"][0]["state"] == "approved"
        assert (await admin.delete(f"{PATH}/1")).json()["routes"][0]["prefix"] == "10.1.0.0/16"
        await rig.settle()
        states = {each["prefix"]: each["state"] for each in (await admin.get(PATH)).json()["routes"]}
        assert states == {"0.0.0.0/0": "rejected", "::/0": "rejected", "10.1.0.0/16": "waiting"}


@simulated
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"node": "host1", "routes": []}, 400, "length >= 1"),
        ({"node": "host1", "routes": ["x"]}, 400, "is no prefix"),
        ({"node": "host1", "routes": ["10.1.2.3/16"]}, 400, "10.1.0.0/16"),
        ({"node": "host1", "routes": ["10.9.0.0/16"]}, 404, "it offers 10.1.0.0/16"),
        ({"node": "host1", "routes": ["77"]}, 404, "gwctl routes list"),
        ({"node": "host2", "routes": ["1"]}, 404, "none of host2's"),
        ({"node": "nobody", "routes": ["1"]}, 404, "nobody"),
        ({"node": "host1"}, 400, "routes"),
    ],
    ids=["nothing", "no prefix", "host bits", "not offered", "no such id", "another's", "no node", "no routes"],
)
async def test_what_makes_no_sense_is_refused_in_words(serve, routes, body, status, words):
    async with serve() as rig, routes(rig) as admin:
        router, _ = await rig.clients(2)
        report(router, "10.1.0.0/16")
        await rig.settle()
        answer = await admin.post(f"{PATH}/approve", json=body)
        assert answer.status_code == status
        assert words in answer.json()["error"]["message"]


@simulated
async def test_an_overlap_is_a_conflict_unless_the_configuration_says_otherwise(serve, routes):
    for setting, status in (("refuse", 409), ("longest", 200)):
        async with serve(config=ServerConfig(overlapping_routes=setting)) as rig, routes(rig) as admin:
            first, second = await rig.clients(2)
            report(first, "10.0.0.0/8")
            report(second, "10.1.0.0/16")
            await rig.settle()
            await admin.post(f"{PATH}/approve", json={"node": "host1", "routes": ["10.0.0.0/8"]})
            answer = await admin.post(f"{PATH}/approve", json={"node": "host2", "routes": ["10.1.0.0/16"]})
            assert answer.status_code == status


@simulated
async def test_routes_of_a_removed_node_go_with_it_in_one_revision(serve, routes):
    async with serve() as rig, routes(rig) as admin:
        router, peer = await rig.clients(2)
        report(router, "10.1.0.0/16")
        await rig.settle()
        await admin.post(f"{PATH}/approve", json={"node": "host1", "routes": ["10.1.0.0/16"]})
        await rig.settle()
        before = rig.plane.mesh.state.revision
        await rig.plane.administration.delete_node("host1")
        await rig.settle()
        assert rig.plane.mesh.state.revision == before + 1
        assert (await admin.get(PATH)).json() == {"routes": [], "refused": []}
        assert carried(peer) == {}


@simulated
async def test_a_node_whose_key_expired_carries_nothing_and_its_routes_wait_for_it(serve, routes):
    async with serve() as rig, routes(rig) as admin:
        router, peer = await rig.clients(2)
        report(router, "10.1.0.0/16")
        await rig.settle()
        await admin.post(f"{PATH}/approve", json={"node": "host1", "routes": ["10.1.0.0/16"]})
        await rig.plane.administration.expire_node("host1")
        await rig.settle()
        assert carried(peer) == {}
        (left,) = (await admin.get(PATH)).json()["routes"]
        assert (left["state"], left["note"]) == ("approved", "its node's key has expired")
        await router.join("please")
        await rig.settle()
        assert carried(peer) == {"10.1.0.0/16": False}


@simulated
async def test_strangers_see_and_decide_nothing(serve, routes):
    async with serve() as rig, routes(rig, admin=False) as stranger:
        for method, path in (("GET", ""), ("POST", "/approve"), ("GET", "/1"), ("DELETE", "/1"), ("POST", "/1/reject")):
            assert (await stranger.request(method, PATH + path)).status_code == 401, path
