"""The service Admin from outside: the REST API by another way, over gRPC and over Connect with JSON."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from grpcclient import Machine, Stub, Token, kind
from grpcserver import Running

from ghostwire_api_grpc.admin import ROUTES

Make = Callable[[str], Machine]
Call = Callable[..., Any]


async def fails(call: Any) -> tuple[grpc.StatusCode, str]:
    """Status and our code of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert "\n" not in (caught.value.details() or "")
    return caught.value.code(), str(dict(caught.value.trailing_metadata() or ()).get("ghostwire-code", ""))


async def test_users_are_made_changed_listed_and_deleted(admin: Stub, running: Running) -> None:
    made = await admin.CreateUser(name="ada", email="ada@example.org")
    assert made == await admin.GetUser(id="ada") == await admin.GetUser(id=str(made.id))
    assert made.id in [user.id for user in (await admin.ListUsers()).users]
    changed = await admin.ChangeUser(id="ada", email="")
    assert (changed.name, changed.email) == ("ada", "")
    assert next(user for user in running.api.get("/api/v1/users")["users"] if user["id"] == made.id)["email"] == ""
    assert (await admin.DeleteUser(id="ada")).id == made.id
    assert await fails(admin.GetUser(id="ada")) == (grpc.StatusCode.NOT_FOUND, "not-found")


async def test_nodes_keys_and_relays_look_as_over_rest(admin: Stub, running: Running, machine: Make) -> None:
    one = machine("seen")
    token = (await admin.CreatePreAuthKey(tags=["ci"], ttl_seconds=600)).token
    await one.join(Token(token).secret)
    await one.control.Report(session=1, sequence=1, endpoints=[{"transport": "udp", "text": "192.0.2.9:1"}])
    shown = await admin.GetNode(id="seen")
    rest = running.api.get("/api/v1/nodes/seen")
    assert list(shown.tags) == rest["tags"] == ["tag:ci"]
    assert (shown.node_key, shown.user.name, shown.online) == (rest["node_key"], rest["user"]["name"], True)
    assert [[each.transport, each.text] for each in shown.endpoints] == rest["endpoints"]
    assert list((await admin.ChangeNode(id="seen", tags={"texts": []}, name="renamed")).tags) == rest["tags"][:0]
    assert (await admin.ChangeNode(id="renamed", name="again")).name == "again"
    assert (await admin.DeleteNode(id="again")).id == one.id
    await one.until(lambda it: it.ended is not None)
    assert one.told[-1].refused.code == "removed"
    keys = (await admin.ListPreAuthKeys()).keys
    assert "used" in [key.state for key in keys]
    assert (await admin.RevokePreAuthKey(id=str(keys[0].id))).key.id == keys[0].id
    made = await admin.CreateRelay(name="hel1", region="Helsinki", host="192.0.2.1", stun_port=0)
    assert (made.relay.region.name, made.relay.state, made.relay.stun_port) == ("Helsinki", "waiting", 0)
    assert made.token.startswith("gwjoin-")
    assert (await admin.DrainRelay(id="hel1")).draining
    assert not (await admin.UndrainRelay(id="hel1")).draining
    assert (await admin.ChangeRelay(id="hel1", port=443)).port == 443
    assert "Regions" in json.loads((await admin.GetDerpMap()).json)
    assert (await admin.DeleteRelay(id="hel1")).name == "hel1"


async def test_routes_and_the_policy(admin: Stub, running: Running, machine: Make) -> None:
    one = machine("router")
    await one.join(running.join_token().secret)
    await one.control.Report(session=1, sequence=1, routes=["192.168.7.0/24"])
    await one.until(lambda it: it.map.nodes)
    found = await offered(admin, "router")
    assert [(route.prefix, route.state) for route in found] == [("192.168.7.0/24", "waiting")]
    assert (await admin.ApproveRoutes(node="router", routes=["192.168.7.0/24"])).routes[0].state == "approved"
    assert (await admin.RejectRoute(id=found[0].id)).routes[0].state == "rejected"
    assert (await admin.GetPolicy()).version == 0
    text = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
    assert not (await admin.CheckPolicy(source=text)).errors
    assert (await admin.CheckPolicy(source="{")).errors[0].line == 1
    assert (await admin.SetPolicy(source=text, replaces=0, note="first")).version == 1
    stale = await fails(admin.SetPolicy(source=text + " ", replaces=0))
    assert stale == (grpc.StatusCode.ABORTED, "stale")
    large = text + " " * (2 * 1024 * 1024)
    assert (await admin.CheckPolicy(source=large)).errors == []
    assert (await admin.ExplainPolicy(source="router", destination="router:22")).summary
    assert (await admin.SetPolicy(source=text + "\n", force=True)).version == 2
    assert (await admin.RollbackPolicy(version=1, replaces=2)).source == text
    assert [each.version for each in (await admin.ListPolicyVersions()).versions][-1] == 1
    assert (await admin.GetPolicyVersion(number=1)).note == "first"
    assert (await admin.GetServer()).policy.version == 3


async def offered(admin: Stub, node: str) -> Any:
    """A node's routes, once the server has stored them."""
    async with asyncio.timeout(30):
        while not (found := (await admin.ListRoutes(node=node)).routes):
            await asyncio.sleep(0.02)
    return found


async def test_lists_come_in_pages(admin: Stub) -> None:
    for number in range(3):
        await admin.CreateUser(name=f"page{number}")
    names: list[str] = []
    page = await admin.ListUsers(limit=1)
    while page.HasField("next"):
        assert len(page.users) == 1
        names.append(page.users[0].name)
        page = await admin.ListUsers(limit=1, after=page.next)
    names += [user.name for user in page.users]
    assert names == [user.name for user in (await admin.ListUsers()).users]


async def test_a_create_may_be_repeated_under_its_key(admin: Stub) -> None:
    one = await admin.CreateApiKey(name="repeated", idempotency_key="a" * 16)
    assert one == await admin.CreateApiKey(name="repeated", idempotency_key="a" * 16)
    assert one.secret.startswith("gwapi-")
    other = await fails(admin.CreateApiKey(name="other", idempotency_key="a" * 16))
    assert other[0] in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS)


async def test_a_read_only_key_changes_nothing_and_a_wrong_one_sees_nothing(running: Running, admin: Stub) -> None:
    key = running.api_key("reader", read_only=True)
    reader, stranger = admin.with_token(key), admin.with_token("gwapi-" + "0" * 16 + "-" + "0" * 64)
    assert (await reader.ListUsers()).users
    assert (await fails(reader.CreateUser(name="x")))[0] == grpc.StatusCode.PERMISSION_DENIED
    assert (await fails(stranger.ListUsers()))[0] == grpc.StatusCode.UNAUTHENTICATED
    assert (await fails(admin.with_token("").ListUsers()))[0] == grpc.StatusCode.UNAUTHENTICATED
    assert (await admin.DeleteApiKey(id="reader")).read_only
    assert (await fails(reader.ListUsers()))[0] == grpc.StatusCode.UNAUTHENTICATED


async def test_what_is_wrong_is_said_as_the_rest_api_says_it(admin: Stub) -> None:
    assert await fails(admin.GetNode(id="nobody")) == (grpc.StatusCode.NOT_FOUND, "not-found")
    assert (await fails(admin.CreateUser(name="")))[0] == grpc.StatusCode.INVALID_ARGUMENT
    await admin.CreateUser(name="taken")
    assert await fails(admin.CreateUser(name="taken")) == (grpc.StatusCode.ALREADY_EXISTS, "conflict")


@pytest.mark.parametrize("id_", ["", ".", "..", "../users", "a/b", "%2e%2e", "?x=1", "#", "\N{SNOWMAN}", "a\nb"])
async def test_no_name_leads_to_another_route(admin: Stub, id_: str) -> None:
    status, _ = await fails(admin.GetNode(id=id_))
    assert status in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


def connect(running: Running, method: str, body: Any, key: str, version: str = "1") -> tuple[int, Any]:
    """A call by Connect with JSON: plain HTTP/1.1, without any library."""
    trust = ssl.create_default_context(cadata=running.server.certificate.decode())
    connection = http.client.HTTPSConnection("127.0.0.1", running.server.port, context=trust, timeout=30)
    headers = {"content-type": "application/json", "connect-protocol-version": version}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    connection.request("POST", f"/ghostwire.v1.{method}", json.dumps(body), headers)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_connect_with_json_over_plain_http(running: Running) -> None:
    status, made = connect(running, "Admin/CreateUser", {"name": "json", "email": "j@example.org"}, running.admin_key)
    assert (status, made["name"], made["email"]) == (200, "json", "j@example.org")
    status, refused = connect(running, "Admin/GetUser", {"id": "nobody"}, running.admin_key)
    assert (status, refused["code"]) == (404, "not_found")
    assert "nobody" in refused["message"]
    assert connect(running, "Admin/ListUsers", {}, "")[0] == 401
    assert connect(running, "Admin/ListUsers", {"unknown": 1}, running.admin_key)[0] == 400
    assert connect(running, "Control/Challenge", {"clientKey": "AAAA"}, "")[0] == 400
    found = connect(running, "Control/Challenge", {"clientKey": "A" * 42 + "Q="}, "")
    assert found[0] == 400 or len(found[1]["challenge"]) == 44


def test_an_unknown_field_is_told_in_one_line(running: Running) -> None:
    status, refused = connect(running, "Admin/ListUsers", {"foo": 1}, running.admin_key)
    assert status == 400
    assert "foo" in refused["message"]
    assert "\n" not in refused["message"]


@pytest.mark.parametrize("method", ["Admin/Nothing", "Nobody/Nothing"])
def test_an_unknown_method_is_told_in_the_apis_json(running: Running, method: str) -> None:
    status, refused = connect(running, method, {}, running.admin_key)
    assert (status, refused["error"]["code"]) == (404, "not-found")


def test_every_administrators_route_is_a_method(running: Running) -> None:
    """But for those of backups, which are for the machine itself, and the API's own document."""
    try:
        document = running.api.get("/api/v1/openapi.json")
    except Exception:
        pytest.skip("this server has no document of its API")
    assert missing(document["paths"]) == []


def missing(paths: Any) -> list[str]:
    routes = {(route.method, _shape("/api/v1" + route.path)) for route in ROUTES.values()}
    ours = ((method.upper(), path) for path, methods in paths.items() for method in methods if path.startswith("/api/"))
    left_out = re.compile(r"/api/v1/(openapi.json|server/|backup)")
    return [f"{m} {path}" for m, path in _known(ours) if (m, _shape(path)) not in routes and not left_out.match(path)]


def _known(found: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return (each for each in found if each[0] in ("GET", "POST", "PUT", "PATCH", "DELETE"))


def _shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def test_every_answer_has_the_fields_of_the_rest_api(running: Running) -> None:
    """Of lists with at least one item, by their JSON."""
    for path, name, item in (("users", "users", "User"), ("apikeys", "keys", "ApiKey"), ("relays", "relays", "Relay")):
        for shown in running.api.get(f"/api/v1/{path}")[name]:
            assert set(shown) <= set(kind(item).DESCRIPTOR.fields_by_name), item
    assert set(running.api.get("/api/v1/server")) <= set(kind("Server").DESCRIPTOR.fields_by_name)
