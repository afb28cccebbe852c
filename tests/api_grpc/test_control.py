"""The service Control from outside: enrolment, the map and its changes, reports, resuming, leaving."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpcclient import Key, Machine, Token
from grpcserver import Running, serving

Make = Callable[[str], Machine]


async def test_a_machine_enrols_and_watches_its_map(running: Running, machine: Make) -> None:
    one = machine("one")
    welcome = await one.join(running.token.secret)
    await one.until(lambda it: it.id in it.map.nodes)
    own = one.map.nodes[one.id]
    assert (own.name, own.node_key, own.disco_key) == ("one", one.node.public, one.disco.public)
    assert welcome.node.addresses == own.addresses
    assert welcome.domain == "mesh.local"
    assert one.changes[0].full
    assert next(node for node in running.api.get("/api/v1/nodes")["nodes"] if node["id"] == one.id)["online"]


async def test_a_join_is_told_as_a_change_and_a_report_reaches_who_wants_the_peer(
    running: Running, machine: Make
) -> None:
    one, two = machine("first"), machine("second")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    told = len(one.changes)
    await two.join(running.token.secret)
    await one.until(lambda it: two.id in it.map.nodes)
    assert not any(change.full for change in one.changes[told:])
    await two.until(lambda it: one.id in it.map.nodes)
    await two.control.Report(session=1, sequence=1, endpoints=[{"transport": "udp", "text": "192.0.2.7:41641"}])
    await one.control.Interest(node=two.id)
    await one.until(lambda it: any(each.WhichOneof("told") == "endpoints" for each in it.told))
    (told_of,) = [each.endpoints for each in one.told if each.WhichOneof("told") == "endpoints"]
    assert told_of.node == two.id
    assert [(each.transport, each.text) for each in told_of.endpoints] == [("udp", "192.0.2.7:41641")]


async def test_who_comes_back_with_his_cursor_is_told_only_what_he_missed(running: Running, machine: Make) -> None:
    one, two = machine("stayer"), machine("comer")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    await one.hang_up()
    await two.join(running.token.secret)
    await two.until(lambda it: it.map.nodes)
    known = set(one.map.nodes)
    one.told.clear()
    await one.join()
    await one.until(lambda it: two.id in it.map.nodes)
    assert not any(change.full for change in one.changes)
    assert {node.id for change in one.changes for node in change.nodes} <= {two.id, one.id}
    assert known < set(one.map.nodes)


async def test_leaving_the_mesh_is_confirmed_and_ends_the_watch(running: Running, machine: Make) -> None:
    one = machine("leaver")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    await one.control.Leave(logout=True)
    await one.until(lambda it: it.ended is not None)
    assert one.told[-1].refused.code == "removed"
    assert one.ended is not None
    assert one.ended.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert dict(one.ended.trailing_metadata() or ())["ghostwire-code"] == "removed"


async def test_a_newer_session_of_a_node_ends_the_older(running: Running, machine: Make) -> None:
    one = machine("twice")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    older = one.session
    await one.enrol()
    await one.until(lambda it: it.ended is not None)
    assert one.told[-1].refused.code == "replaced"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await one.control.with_token(older).Refresh()
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_refresh_brings_the_whole_map_again(running: Running, machine: Make) -> None:
    one = machine("fresh")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    one.told.clear()
    await one.control.Refresh()
    await one.until(lambda it: any(change.full for change in it.changes))
    assert one.id in one.map.nodes


async def test_an_unknown_machine_needs_right_credentials(running: Running, machine: Make) -> None:
    for secret, status, code in (
        ("", grpc.StatusCode.FAILED_PRECONDITION, "login-required"),
        ("gwkey-0000000000000000-" + "0" * 64, grpc.StatusCode.UNAUTHENTICATED, "authentication-failed"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await machine("nobody").enrol(secret)
        assert caught.value.code() == status, caught.value
        assert dict(caught.value.trailing_metadata() or ())["ghostwire-code"] == code


@pytest.mark.parametrize("wrong", ["machine_proof", "node_proof", "node_key", "machine_key", "challenge_id"])
async def test_nothing_happens_without_both_proofs(running: Running, machine: Make, wrong: str) -> None:
    before = running.api.get("/api/v1/server")["revision"]
    credentials = {"scheme": "auth_key", "secret": running.token.secret}
    one = machine("forger")
    request = await one.request(credentials=credentials)
    setattr(request, wrong, Key().public if wrong != "challenge_id" else bytes(16))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await one.control.Enrol(request)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, caught.value
    assert running.api.get("/api/v1/server")["revision"] == before


async def test_a_challenge_is_good_for_one_answer(running: Running, machine: Make) -> None:
    one = machine("again")
    request = await one.request(credentials={"scheme": "auth_key", "secret": running.token.secret})
    await one.control.Enrol(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await one.control.Enrol(request)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_proofs_made_for_another_certificate_are_refused(running: Running, machine: Make) -> None:
    """A man in the middle shows one of his own: the server's proof does not fit, nor would the client's."""
    one = machine("deceived")
    seen = one.server.certificate
    try:
        one.server.certificate = b""
        one.server.tls = False
        with pytest.raises(AssertionError, match="not the server"):
            await one.prove()
    finally:
        one.server.certificate, one.server.tls = seen, True


async def test_a_session_is_watched_once(running: Running, machine: Make) -> None:
    one = machine("watcher")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in one.control.Watch():
            pass
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_a_join_token_reads_as_documented(running: Running) -> None:
    token = running.join_token()
    assert isinstance(token, Token)
    assert token.scheme == "auth_key"
    assert f"ctlkey:{token.control_key.hex()}" == running.api.get("/api/v1/server")["control_key"]


async def test_a_protocol_that_is_not_served_is_refused(running: Running, machine: Make) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await machine("ancient").enrol(running.token.secret, protocol=99)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert dict(caught.value.trailing_metadata() or ())["ghostwire-code"] == "protocol"


async def test_a_cursor_is_good_after_the_server_started_anew(tmp_path: Path) -> None:
    with serving(tmp_path / "own") as running:
        one, two = (Machine(running.server, running.token.control_key, name) for name in ("one", "two"))
        await one.join(running.token.secret)
        await one.until(lambda it: it.id in it.map.nodes)
        await one.close()
        await two.join(running.token.secret)
        await two.until(lambda it: it.id in it.map.nodes)
        await two.close()
    with serving(tmp_path / "own") as again:
        one.told.clear()
        one.moved(again.server)
        await one.join()
        await one.until(lambda it: two.id in it.map.nodes)
        assert not any(change.full for change in one.changes)
        await one.close()


async def test_a_watch_goes_over_plain_http_as_well(running: Running, machine: Make) -> None:
    """Connect: JSON in envelopes of a flag and a length, over HTTP/1.1; the node is offline when it hangs up."""
    one = machine("plain")
    await one.enrol(running.token.secret)
    trust = ssl.create_default_context(cadata=running.server.certificate.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=trust)
    head = [
        "POST /ghostwire.v1.Control/Watch HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/connect+json",
        f"authorization: Bearer {one.session}",
        "content-length: 7",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode() + b"\0\0\0\0\2{}")
    async with asyncio.timeout(30):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"\r\n")  # the chunk's size
        flag, size = struct.unpack(">BI", await reader.readexactly(5))
        told = json.loads(await reader.readexactly(size))
        assert flag == 0
        assert told["map"]["full"] is True
        assert str(one.id) in [node["id"] for node in told["map"]["nodes"]]
        writer.close()
        while running.api.get(f"/api/v1/nodes/{one.id}")["online"]:
            await asyncio.sleep(0.02)
