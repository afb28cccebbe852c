"""What holds for the whole API: pages, entity tags, requests that may come again, queries, and its document."""

import asyncio

import pytest

from ghostwire.frontdoor.access import AdminRoute
from ghostwire.frontdoor.operations import ApiRoute
from ghostwire.model import IdempotencyKey
from ghostwire.server import receipts
from ghostwire.testing import simulated

USERS = "/api/v1/users"
KEY = {"Idempotency-Key": "0b0c5f2e-4c1b-4a3e-9a55-1d1f0e9d2c11"}


@simulated
async def test_lists_come_in_pages_that_make_the_whole(serve, desk):
    async with serve() as rig, desk(rig) as client:
        for number in range(6):
            await client.post(USERS, json={"name": f"user{number}"})
        whole = (await client.get(USERS)).json()
        assert "next" not in whole
        seen, after = [], 0
        while after is not None:
            page = (await client.get(f"{USERS}?limit=3&after={after}")).json()
            assert len(page["users"]) <= 3
            seen, after = seen + page["users"], page.get("next")
        assert seen == whole["users"]
        assert (await client.get(f"{USERS}?after=99")).json() == {"users": []}


@simulated
async def test_who_goes_between_two_pages_costs_nobody_else_his_place(serve, desk):
    async with serve() as rig, desk(rig) as client:
        for number in range(4):
            await client.post(USERS, json={"name": f"user{number}"})
        first = (await client.get(f"{USERS}?limit=2")).json()
        await client.delete(f"{USERS}/{first['next']}")
        rest = (await client.get(f"{USERS}?after={first['next']}")).json()
        assert [user["name"] for user in rest["users"]] == ["user1", "user2", "user3"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "after=-1", "more=1", "limit=1&limit=2", "limit="]
)
def test_a_query_that_is_not_understood_is_refused_with_its_reason(serve, desk, query):
    @simulated
    async def run():
        async with serve() as rig, desk(rig) as client:
            answer = await client.get(f"{USERS}?{query}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")
            assert query.partition("=")[0] in answer.text or "twice" in answer.text
            assert (await client.delete(f"{USERS}/admin?really")).status_code == 400
            assert list(rig.users) == ["admin"]

    run()


@simulated
async def test_what_the_caller_has_already_is_not_sent_again(serve, desk):
    async with serve() as rig, desk(rig) as client:
        for path in (USERS, f"{USERS}/admin", "/api/v1/openapi.json"):
            seen = await client.get(path)
            again = await client.get(path, headers={"If-None-Match": seen.headers["etag"]})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", seen.headers["etag"])
        await client.patch(f"{USERS}/admin", json={"email": "a@example.com"})
        assert (await client.get(USERS, headers={"If-None-Match": seen.headers["etag"]})).status_code == 200


@simulated
async def test_a_change_of_what_is_no_longer_as_it_was_seen_is_a_conflict(serve, desk):
    async with serve() as rig, desk(rig) as client:
        seen = {"If-Match": (await client.get(f"{USERS}/admin")).headers["etag"]}
        changed = await client.patch(f"{USERS}/admin", json={"name": "ada"}, headers=seen)
        assert changed.status_code == 200
        for method in ("PATCH", "DELETE"):
            stale = await client.request(method, f"{USERS}/ada", json={"name": "eve"}, headers=seen)
            assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale")
        assert list(rig.users) == ["ada"]
        now = {"If-Match": changed.headers["etag"]}
        assert (await client.patch(f"{USERS}/ada", json={"name": "eve"}, headers=now)).status_code == 200
        assert (await client.patch(f"{USERS}/eve", json={"name": "bob"}, headers={"If-Match": "*"})).status_code == 200


@simulated
async def test_of_two_changes_of_one_state_one_happens(serve, desk):
    async with serve() as rig, desk(rig) as client:
        seen = {"If-Match": (await client.get(f"{USERS}/admin")).headers["etag"]}
        changes = [client.patch(f"{USERS}/1", json={"name": name}, headers=seen) for name in ("ada", "bob", "eve")]
        assert sorted(answer.status_code for answer in await asyncio.gather(*changes)) == [200, 409, 409]


@simulated
async def test_a_nodes_presence_does_not_outdate_it(serve, desk):
    async with serve() as rig, desk(rig) as client:
        (node,) = await rig.clients(1)
        seen = (await client.get("/api/v1/nodes/host1")).headers["etag"]
        node.leave()
        await rig.settle()
        assert (await client.get("/api/v1/nodes/host1")).headers["etag"] != seen
        renamed = await client.patch("/api/v1/nodes/host1", json={"name": "web"}, headers={"If-Match": seen})
        assert renamed.status_code == 200


@pytest.mark.parametrize(
    ("path", "order"),
    [
        (USERS, {"name": "bob"}),
        ("/api/v1/relays", {"name": "a", "region": "north", "host": "a.example.com"}),
        ("/api/v1/apikeys", {"name": "ci"}),
    ],
    ids=["user", "relay", "apikey"],
)
def test_a_request_that_comes_again_is_answered_again_and_makes_nothing(serve, desk, path, order):
    @simulated
    async def run():
        async with serve() as rig, desk(rig) as client:
            first = await client.post(path, json=order, headers=KEY)
            assert (first.status_code, "idempotent-replayed" in first.headers) == (200, False)
            before = rig.plane.mesh.state.revision
            again = await client.post(path, json=order, headers=KEY)
            assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
            assert rig.plane.mesh.state.revision == before
            other = await client.post(path, json={**order, "name": "other"}, headers=KEY)
            assert (other.status_code, other.json()["error"]["code"]) == (409, "key-reused")
            await rig.restart()
            async with desk(rig) as later:
                assert (await later.post(path, json=order, headers=KEY)).json() == first.json()

    run()


@simulated
async def test_of_requests_at_once_one_is_carried_out_and_all_are_answered_the_same(serve, desk):
    async with serve() as rig, desk(rig) as client:
        orders = [client.post(USERS, json={"name": "bob"}, headers=KEY) for _ in range(5)]
        answers = await asyncio.gather(*orders)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1


@simulated
async def test_a_kept_answer_is_sealed_and_goes_after_a_day(serve, desk):
    async with serve() as rig, desk(rig) as client:
        secret = (await client.post("/api/v1/apikeys", json={"name": "ci"}, headers=KEY)).json()["secret"]
        (kept,) = rig.plane.mesh.list(IdempotencyKey)
        assert secret.encode() not in kept.answer
        assert KEY["Idempotency-Key"] not in repr(kept)
        await asyncio.sleep(receipts.KEPT + 1)
        assert (await client.post("/api/v1/apikeys", json={"name": "ci"}, headers=KEY)).status_code == 409
        await client.post("/api/v1/apikeys", json={"name": "cd"}, headers=KEY)
        (kept,) = rig.plane.mesh.list(IdempotencyKey)


@simulated
async def test_no_more_answers_are_kept_than_there_is_room_for(serve, desk, monkeypatch):
    monkeypatch.setattr(receipts, "MOST", 3)
    async with serve() as rig, desk(rig) as client:
        for number in range(5):
            await client.post(USERS, json={"name": f"user{number}"}, headers={"Idempotency-Key": f"{number:032}"})
        assert len(rig.plane.mesh.list(IdempotencyKey)) == 3
        newest = await client.post(USERS, json={"name": "user4"}, headers={"Idempotency-Key": f"{4:032}"})
        assert newest.headers["idempotent-replayed"] == "true"


@simulated
async def test_a_refused_request_may_come_again_under_its_key(serve, desk):
    async with serve() as rig, desk(rig) as client:
        assert (await client.post(USERS, json={"name": "admin"}, headers=KEY)).status_code == 409
        await client.patch(f"{USERS}/admin", json={"name": "root"})
        assert (await client.post(USERS, json={"name": "admin"}, headers=KEY)).status_code == 200
        for short in ("x", "x" * 129, "x" * 15 + " y"):
            refused = await client.post(USERS, json={"name": "a"}, headers={"Idempotency-Key": short})
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "malformed")


@simulated
async def test_one_path_names_all_methods_that_it_has(serve, desk):
    async with serve() as rig, desk(rig) as client:
        refused = await client.put(f"{USERS}/admin", json={})
        assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH")


@simulated
async def test_every_route_of_the_table_is_in_the_document_once(serve, desk):
    async with serve() as rig, desk(rig) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        table = [route for route in desk.app(rig).routes if isinstance(route, AdminRoute)]
        operations = [route.routes[0].operation for route in table if isinstance(route.routes[0], ApiRoute)]
        assert len(operations) == len(table)
        shown = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
        assert shown == {(operation.path, operation.method) for operation in operations}
        ids = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
        assert len(ids) == len(set(ids))


@simulated
async def test_whole_numbers_may_be_written_with_a_point(serve, desk):
    async with serve() as rig, desk(rig) as client:
        order = {"name": "a", "region": "north", "host": "a.example.com"}
        assert (await client.post("/api/v1/relays", json={**order, "port": 443.0})).json()["relay"]["port"] == 443
        refused = await client.post("/api/v1/relays", json={**order, "name": "b", "port": 443.5})
        assert (refused.status_code, "$.port" in refused.text) == (400, True)


@simulated
async def test_nobody_is_sent_elsewhere_with_his_key(serve, desk):
    async with serve() as rig, desk(rig) as client:
        for path in (USERS + "/", "/api/v1/server//", "//api/v1/users/"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")
            assert "location" not in answer.headers
