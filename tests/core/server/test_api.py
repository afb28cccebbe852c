"""The server's HTTP API, for administrators and for strangers."""

import pytest

from ghostwire.model import User
from ghostwire.testing import simulated


@simulated
async def test_strangers_get_health_and_nothing_else(serve, api):
    async with serve() as rig, api(rig, admin=False) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        for method, path in (
            ("GET", "/api/v1/server"),
            ("GET", "/api/v1/users"),
            ("POST", "/api/v1/users"),
            ("GET", "/api/v1/nodes"),
            ("PATCH", "/api/v1/nodes/1"),
            ("DELETE", "/api/v1/nodes/1"),
            ("POST", "/api/v1/nodes/1/expire"),
        ):
            answer = await client.request(method, path)
            assert answer.status_code == 401, path
            assert answer.json()["error"]["code"] == "authentication-failed"


@simulated
async def test_nodes_are_listed_with_all_that_is_known(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.clients(2)
        nodes = (await client.get("/api/v1/nodes")).json()["nodes"]
        assert [node["name"] for node in nodes] == ["host1", "host2"]
        node = (await client.get("/api/v1/nodes/host1")).json()
        assert node == nodes[0] == (await client.get(f"/api/v1/nodes/{node['id']}")).json()
        assert node["user"] == {"id": 1, "name": "admin"}
        assert node["machine_key"].startswith("mkey:")
        assert node["online"]
        assert not node["expired"]


@simulated
async def test_nodes_are_renamed_expired_and_deleted(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.clients(2)
        renamed = await client.patch("/api/v1/nodes/host1", json={"name": "web"})
        assert renamed.json()["name"] == "web"
        assert (await client.patch("/api/v1/nodes/web", json={"name": "host2"})).status_code == 409
        assert (await client.patch("/api/v1/nodes/web", json={"name": "Not a label"})).status_code == 400
        assert (await client.post("/api/v1/nodes/web/expire")).json()["expired"]
        assert (await client.delete("/api/v1/nodes/web")).status_code == 200
        assert (await client.get("/api/v1/nodes/web")).status_code == 404
        assert list(rig.nodes) == ["host2"]


@simulated
async def test_users_are_made_renamed_and_deleted_unless_they_have_nodes(serve, api):
    async with serve() as rig, api(rig) as client:
        made = (await client.post("/api/v1/users", json={"name": "bob"})).json()
        assert (await client.post("/api/v1/users", json={"name": "bob"})).status_code == 409
        assert (await client.post("/api/v1/users", json={"name": " "})).status_code == 400
        assert (await client.patch("/api/v1/users/bob", json={"name": "bill"})).json()["id"] == made["id"]
        assert (await client.delete("/api/v1/users/bill")).status_code == 200
        await rig.clients(1)
        refused = await client.delete("/api/v1/users/admin")
        assert refused.status_code == 409
        assert "1 nodes" in refused.json()["error"]["message"]
        assert list(rig.users) == ["admin"]


@simulated
async def test_users_have_e_mail_addresses_each_its_own(serve, api):
    async with serve() as rig, api(rig) as client:
        made = (await client.post("/api/v1/users", json={"name": "ada", "email": "Ada.L@Example.com"})).json()
        assert (made["email"], rig.users["ada"].email) == ("ada.l@example.com", "ada.l@example.com")
        same = await client.post("/api/v1/users", json={"name": "bob", "email": "ada.l@example.com"})
        assert (same.status_code, same.json()["error"]["code"]) == (409, "conflict")
        await client.post("/api/v1/users", json={"name": "bob"})
        assert (await client.patch("/api/v1/users/bob", json={"email": "ADA.L@example.com"})).status_code == 409
        assert (await client.patch("/api/v1/users/bob", json={"email": "bob@example.com"})).status_code == 200
        assert (await client.patch("/api/v1/users/bob", json={"name": "bill"})).json()["email"] == "bob@example.com"
        assert (await client.patch("/api/v1/users/ada", json={"email": ""})).json()["email"] == ""
        assert (await client.patch("/api/v1/users/bill", json={"email": "nobody"})).status_code == 400


@simulated
async def test_who_an_issuer_vouches_for_gets_no_e_mail_address_from_an_administrator(serve, api):
    async with serve() as rig, api(rig) as client:
        theirs = User(id=7, stable_id="x", name="eve", issuer="https://id.example.com", email="eve@example.com")
        await rig.plane.mesh.write(lambda transaction: transaction.put(theirs))
        refused = await client.patch("/api/v1/users/eve", json={"email": "root@example.com"})
        assert (refused.status_code, "https://id.example.com says" in refused.text) == (400, True)
        assert rig.users["eve"] == theirs


@simulated
async def test_nodes_are_tagged_and_untagged(serve, api):
    async with serve() as rig, api(rig) as client:
        await rig.clients(1)
        tagged = await client.patch("/api/v1/nodes/host1", json={"tags": ["tag:web", "tag:Db.1", "tag:web"]})
        assert (tagged.json()["tags"], tagged.json()["warnings"]) == (["tag:web", "tag:Db.1"], [])
        assert rig.nodes["host1"].tags == ("tag:web", "tag:Db.1")
        both = (await client.patch("/api/v1/nodes/host1", json={"tags": [], "name": "web"})).json()
        assert (both["tags"], both["name"]) == ([], "web")
        for wrong in (["web"], ["tag:"], ["tag:1"], ["tag:a b"], [f"tag:n{number}" for number in range(33)]):
            assert (await client.patch("/api/v1/nodes/web", json={"tags": wrong})).status_code == 400
        assert rig.nodes["web"].tags == ()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((body, 400) for body in (b"{", b"[]", b'{"name": 7}', b'{"name": "x", "more": 1}', b"{}")),
        (b'{"name": "' + b"x" * 70_000 + b'"}', 413),
    ],
)
def test_wrong_bodies_are_refused_with_their_reason(serve, api, body, status):
    @simulated
    async def run():
        async with serve() as rig, api(rig) as client:
            answer = await client.post("/api/v1/users", content=body)
            assert answer.status_code == status
            assert answer.json()["error"]["code"] in (("too-large",) if status == 413 else ("malformed", "usage"))
            assert list(rig.users) == ["admin"]

    run()


@simulated
async def test_what_is_not_there_is_said_in_json(serve, api):
    async with serve() as rig, api(rig) as client:
        assert (await client.get("/nowhere")).json()["error"]["code"] == "not-found"
        assert (await client.put("/healthz")).json()["error"]["code"] == "method-not-allowed"
        assert (await client.get("/api/v1/nodes/99999999999999999999")).status_code == 404
