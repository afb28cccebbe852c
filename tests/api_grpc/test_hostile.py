"""Strangers at the gRPC API: what they send is bounded, refused in one line, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import http.client
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpcclient import PACKAGE, Key, Machine, Stub
from grpcserver import Running, serving

Make = Callable[[str], Machine]


async def raw(running: Running, method: str, body: bytes, token: str = "") -> grpc.StatusCode:
    """The status of a call with any bytes."""
    async with running.server.channel() as channel:
        call = channel.unary_unary(f"/{PACKAGE}.{method}")
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            await call(body, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def post(running: Running, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> int:
    """The status of a request over HTTP/1.1."""
    trust = ssl.create_default_context(cadata=running.server.certificate.decode())
    connection = http.client.HTTPSConnection("127.0.0.1", running.server.port, context=trust, timeout=30)
    connection.request(method, path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


async def lives(running: Running, machine: Make) -> None:
    """The server still serves."""
    one = machine("witness")
    await one.join(running.token.secret)
    await one.until(lambda it: it.id in it.map.nodes)


async def test_too_large_a_request_is_refused(running: Running, machine: Make) -> None:
    big = await raw(running, "Control/Challenge", b"\x0a\xff\xff\x7f" + bytes(1024 * 1024))
    assert big == grpc.StatusCode.RESOURCE_EXHAUSTED
    huge = await raw(running, "Admin/SetPolicy", b"\x0a\xff\xff\x7f" + bytes(17 * 1024 * 1024), running.admin_key)
    assert huge == grpc.StatusCode.RESOURCE_EXHAUSTED
    await lives(running, machine)


async def test_garbage_is_refused(running: Running, machine: Make) -> None:
    for size in (1, 7, 64, 1000, 16000):
        for method in ("Challenge", "Enrol", "Report", "Watch"):
            status = await raw(running, f"Control/{method}", b"\xff" + os.urandom(size))
            assert status in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED), (method, size)
    assert await raw(running, "Control/Nothing", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert await raw(running, "Nobody/Nothing", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert "Traceback" not in running.log()
    await lives(running, machine)


async def test_whoever_is_let_in_is_refused_for_what_he_says(running: Running) -> None:
    assert await raw(running, "Admin/SetPolicy", b"\xff" * 500, running.admin_key) == grpc.StatusCode.INVALID_ARGUMENT
    path, bearer = "/ghostwire.v1.Admin/CreateUser", {"authorization": f"Bearer {running.admin_key}"}
    assert post(running, path, b"{", {"content-type": "application/json", **bearer}) == 400


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({"content-type": "application/json"}, "GET", 400),
        ({"content-type": "application/grpc"}, "POST", 400),
        ({"content-type": "text/html"}, "POST", 415),
        ({"content-type": "application/json", "x": "\xff"}, "POST", 400),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "POST", 501),
    ],
    ids=["get", "grpc over http1", "html", "no ascii", "gzip"],
)
def test_what_is_no_call_is_said_so(running: Running, headers: dict[str, str], method: str, status: int) -> None:
    assert post(running, "/ghostwire.v1.Control/Challenge", b"{}", headers, method) == status


def test_json_that_breaks_the_rules_is_refused(running: Running) -> None:
    deep = b'{"host":' * 5000 + b"{}" + b"}" * 5000
    for body in (b"", b"[]", b"nul", b"{", deep[:16000], b'{"clientKey": 7}', b'{"clientKey": "!"}', b"\xff\xfe"):
        status = post(running, "/ghostwire.v1.Control/Challenge", body, {"content-type": "application/json"})
        assert status == 400, body[:20]


async def test_guessed_tokens_open_nothing_and_get_slower_answers(running: Running, machine: Make) -> None:
    one = machine("guesser")
    await one.join(running.token.secret)
    statuses = set()
    for number in range(30):
        guess = one.session[:-2] + f"{(int(one.session[-2:], 16) + 1 + number) % 256:02x}"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one.control.with_token(guess).Refresh()
        statuses.add(caught.value.code())
    assert statuses == {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    await one.control.Refresh()  # the right one is taken all the same


async def test_thousands_of_watches_without_a_session_cost_nothing(running: Running, machine: Make) -> None:
    before = running.memory()
    async with running.server.channel() as channel:
        stub = Stub(channel, "Control", "gwsession-" + "0" * 64)

        async def watch() -> grpc.StatusCode:
            try:
                async for _ in stub.Watch():
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        statuses = set(await asyncio.gather(*[watch() for _ in range(2000)]))
    assert statuses <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert running.memory() - before < 30 * 1024
    await lives(running, machine)


async def test_unanswered_challenges_are_bounded(tmp_path: Path) -> None:
    with serving(tmp_path / "own") as running:
        async with running.server.channel() as channel:
            stub, key = Stub(channel, "Control"), Key().public
            for _ in range(64):
                await stub.Challenge(client_key=key)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Challenge(client_key=key)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(caught.value.trailing_metadata() or ())["retry-after"]) > 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with running.server.channel() as channel:
                await Stub(channel, "Control").Challenge(client_key=bytes(32))
        assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_an_address_has_so_many_sessions_and_no_more(tmp_path: Path) -> None:
    with serving(tmp_path / "own", settings="[plugin.api_grpc]\nmax_sessions_per_address = 3\n") as running:
        machines = [Machine(running.server, running.token.control_key, f"m{number}") for number in range(4)]
        for each in machines[:3]:
            await each.join(running.token.secret)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await machines[3].join(running.token.secret)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await machines[0].until(lambda it: it.map.nodes)
        await machines[0].close()
        async with asyncio.timeout(30):
            while True:
                try:
                    await machines[3].join(running.token.secret)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
        for each in machines[1:]:
            await each.close()


async def test_a_watcher_that_does_not_read_is_told_the_latest_and_costs_little(
    running: Running, machine: Make
) -> None:
    slow = machine("slow")
    await slow.enrol(running.token.secret)
    call = slow.control.Watch()
    first = await call.read()
    assert first.map.full
    slow.map.apply(first.map)
    before = running.memory()
    name = ""
    for number in range(400):
        name = f"renamed-{number}-" + "x" * 40
        running.api.request("PATCH", f"/api/v1/nodes/{slow.id}", {"name": name})
    assert running.memory() - before < 30 * 1024
    async with asyncio.timeout(30):
        while slow.map.nodes[slow.id].name != name:
            slow.map.apply((await call.read()).map)
    call.cancel()


async def test_without_tls_only_the_own_machine_is_answered_and_all_is_bound_to_that(tmp_path: Path) -> None:
    with serving(tmp_path / "plain", tls=False) as running:
        one = Machine(running.server, running.token.control_key, "plain")
        await one.join(running.token.secret)
        await one.until(lambda it: it.id in it.map.nodes)
        await one.close()


async def test_a_server_that_stops_tells_its_watchers_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path / "own") as running:
        one = Machine(running.server, running.token.control_key, "waiter")
        await one.join(running.token.secret)
        await one.until(lambda it: it.map.nodes)
        running.process.terminate()
        await one.until(lambda it: it.ended is not None)
        assert one.told[-1].refused.code == "busy"
        assert one.ended is not None
        assert one.ended.code() == grpc.StatusCode.UNAVAILABLE
        await one.close()
        assert await asyncio.to_thread(running.process.wait, 30) == 0
        assert "Traceback" not in running.log()


async def test_a_session_may_not_report_without_end(running: Running, machine: Make) -> None:
    one = machine("chatty")
    await one.join(running.token.secret)
    await one.until(lambda it: it.map.nodes)
    reports = [one.control.Report(session=1, sequence=number) for number in range(200)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.gather(*reports)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["Admin/SetPolicy", "Admin/CreateUser", "Control/Report", "Control/Watch"])
async def test_what_strangers_say_is_not_even_read(running: Running, method: str) -> None:
    """Malformed as it is, it would be refused for that."""
    for body in (b"\xff" * 500_000, b""):
        for token in ("", "gwapi-" + "0" * 16 + "-" + "0" * 64, "gwsession-" + "0" * 64):
            status = await raw(running, method, body, token)
            assert status in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    if not method.endswith("Watch"):
        for body in (b"{" * 500_000, b"{}"):
            assert post(running, f"/ghostwire.v1.{method}", body, {"content-type": "application/json"}) in (401, 429)
