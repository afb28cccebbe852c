"""API keys: who may make them, what they open, how wrong ones are answered; and requests from within the server."""

import asyncio

import pytest

from ghostwire.capabilities.control import ApiCall
from ghostwire.model import ApiKey
from ghostwire.server.api_keys import GUESSES
from ghostwire.server.within import dispatch
from ghostwire.testing import simulated

PATH = "/api/v1/apikeys"
USERS = "/api/v1/users"


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


async def made(client, name="ci", **order):
    answer = await client.post(PATH, json={"name": name, **order})
    assert answer.status_code == 200, answer.text
    return answer.json()["secret"]


@simulated
async def test_a_key_is_shown_once_and_only_its_digest_is_kept(serve, desk):
    async with serve() as rig, desk(rig) as client:
        secret = await made(client)
        assert secret.startswith("gwapi-")
        (kept,) = rig.plane.mesh.list(ApiKey)
        assert secret not in repr(kept)
        listed = (await client.get(PATH)).json()
        assert secret not in str(listed)
        assert listed["keys"] == [(await client.get(f"{PATH}/ci")).json()]


@simulated
async def test_a_key_administers_over_tls_or_loopback_until_it_is_deleted(serve, desk):
    async with serve() as rig, desk(rig) as admin, desk(rig, admin=False, scheme="https") as afar:
        secret = await made(admin)
        assert (await afar.get(USERS)).status_code == 401
        assert (await afar.post(USERS, json={"name": "bob"}, headers=bearer(secret))).status_code == 200
        async with desk(rig, admin=False) as overheard:
            refused = await overheard.get(USERS, headers=bearer(secret))
            assert (refused.status_code, "TLS" in refused.text) == (403, True)
        async with desk(rig, admin=False, client="127.0.0.1") as near:
            assert (await near.get(USERS, headers=bearer(secret))).status_code == 200
        assert (await admin.delete(f"{PATH}/ci")).json()["name"] == "ci"
        gone = await afar.get(USERS, headers=bearer(secret))
        assert (gone.status_code, gone.headers["www-authenticate"]) == (401, "Bearer")


@simulated
async def test_a_read_only_key_looks_and_changes_nothing(serve, desk):
    async with serve() as rig, desk(rig) as admin, desk(rig, admin=False, scheme="https") as afar:
        own = bearer(await made(admin, read_only=True))
        assert (await afar.get("/api/v1/nodes", headers=own)).status_code == 200
        for method, path in (("POST", USERS), ("POST", PATH), ("DELETE", f"{PATH}/ci"), ("PATCH", f"{USERS}/admin")):
            answer = await afar.request(method, path, json={}, headers=own)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission-denied"), path


@simulated
async def test_a_key_ends_when_it_was_to(serve, desk):
    async with serve() as rig, desk(rig) as admin, desk(rig, admin=False, scheme="https") as afar:
        own = bearer(await made(admin, ttl_seconds=60))
        assert (await afar.get(USERS, headers=own)).status_code == 200
        await asyncio.sleep(61)
        refused = await afar.get(USERS, headers=own)
        assert (refused.status_code, "has expired" in refused.text) == (401, True)
        assert (await admin.get(f"{PATH}/ci")).json()["expired"]


@simulated
async def test_guesses_at_a_key_are_not_looked_at_beyond_a_few_and_keep_no_other_key_out(serve, desk):
    async with serve() as rig, desk(rig) as admin, desk(rig, admin=False, scheme="https") as afar:
        right, other = await made(admin), await made(admin, "other")
        wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
        told = [(await afar.get(USERS, headers=bearer(wrong))).status_code for _ in range(GUESSES + 2)]
        assert told == [401] * GUESSES + [429] * 2
        limited = await afar.get(USERS, headers=bearer(right))
        assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
        assert f"wait {limited.headers['retry-after']} s" in limited.json()["error"]["message"]
        assert (await afar.get(USERS, headers=bearer(other))).status_code == 200
        async with desk(rig, admin=False, scheme="https", client="198.51.100.9") as elsewhere:
            assert (await elsewhere.get(USERS, headers=bearer(right))).status_code == 200
        await asyncio.sleep(60)
        assert (await afar.get(USERS, headers=bearer(right))).status_code == 200


@pytest.mark.parametrize("given", ["", "Basic eDp5", "Bearer", "Bearer x", "Bearer gwapi-0-0", "Bearer \xff"])
def test_what_is_no_key_opens_nothing(serve, desk, given):
    @simulated
    async def run():
        async with serve() as rig, desk(rig, admin=False, scheme="https") as afar:
            answer = await afar.get(USERS, headers={"Authorization": given.encode("latin-1")})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "authentication-failed")

    run()


@simulated
async def test_a_key_of_that_name_is_there_already(serve, desk):
    async with serve() as rig, desk(rig) as client:
        await made(client)
        assert (await client.post(PATH, json={"name": "ci"})).status_code == 409
        for name in ("", "7", "A b", "x" * 64):
            assert (await client.post(PATH, json={"name": name})).status_code == 400


@simulated
async def test_calls_within_the_server_are_answered_as_over_the_network(serve, desk):
    async with serve() as rig, desk(rig) as client:
        secret = await made(client)
        app = desk.app(rig)
        answer = await dispatch(app, ApiCall("POST", USERS, b'{"name": "bob"}'), secret, "192.0.2.7")
        assert (answer.status, rig.users["bob"].name) == (200, "bob")
        asked = await dispatch(app, ApiCall("GET", USERS + "?limit=1"), secret, "192.0.2.7")
        assert (asked.status, b'"next":1' in asked.body, "etag" in asked.headers) == (200, True, True)
        assert (await dispatch(app, ApiCall("GET", USERS), "gwapi-wrong", "192.0.2.7")).status == 401
        assert (await dispatch(app, ApiCall("GET", "/api/v1/nodes/a%20b"), secret, "192.0.2.7")).status == 404
