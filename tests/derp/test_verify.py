"""Which node keys a stock relay is told to admit, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import httpx2
import pytest

from ghostwire.engine import SECOND
from ghostwire.frontdoor.app import application
from ghostwire.frontdoor.rest import MAX_BODY
from ghostwire.keys import NodeKey
from ghostwire.model import Relay
from ghostwire.testing import ManualClock
from ghostwire_derp import verify
from ghostwire_derp.routes import DerpRoutes
from ghostwire_derp.verify import RelayAddresses

MEMBER, STRANGER = NodeKey(bytes([1] * 32)), NodeKey(bytes([2] * 32))
RELAY, OTHER = "192.0.2.10", "198.51.100.1"


def relay(host: str = RELAY, **fields: Any) -> Relay:
    return Relay(id=fields.pop("id", 1), name="r", region=900, region_name="north", host=host, **fields)


@pytest.fixture
def mesh(server_context):
    """The mesh of one member and one relay."""
    mesh = server_context().mesh
    mesh.admitted, mesh.relays = {MEMBER}, [relay()]
    return mesh


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ask(server_context, mesh, clock) -> Callable[..., Any]:
    """``await ask(question, caller=..)`` posts it from there."""
    app = application([DerpRoutes(server_context(mesh=mesh, clock=clock))])

    async def ask(question: Any, caller: str = RELAY) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, client=(caller, 5))
        body = {"content": question} if isinstance(question, bytes) else {"json": question}
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/verify", **body)

    return ask


@pytest.mark.parametrize(("key", "allowed"), [(MEMBER, True), (STRANGER, False)])
@pytest.mark.parametrize("name", ["NodePublic", "nodepublic", "NODEPUBLIC"])
async def test_members_are_allowed_and_strangers_not(ask, name, key, allowed):
    answer = await ask({name: str(key), "Source": "203.0.113.9", "Newer": {"field": 1}})
    assert (answer.status_code, answer.json()) == (200, {"Allow": allowed})


async def test_a_node_that_was_removed_is_not_allowed(ask, mesh):
    mesh.admitted.clear()
    assert (await ask({"NodePublic": str(MEMBER)})).json() == {"Allow": False}


@pytest.mark.parametrize("caller", [OTHER, "127.0.0.1", "::1", "", "testclient"])
async def test_nobody_but_relays_is_answered(ask, caller):
    answer = await ask({"NodePublic": str(MEMBER)}, caller)
    assert answer.status_code == 403
    assert "Allow" not in answer.text


async def test_a_relay_that_was_deleted_is_answered_no_more(ask, mesh):
    mesh.relays.clear()
    assert (await ask({"NodePublic": str(MEMBER)})).status_code == 403


@pytest.mark.parametrize(
    "question",
    [b"", b"{", b"[]", b"null", b"\xff", {}, {"NodePublic": None}, {"NodePublic": "mkey:" + "00" * 32}, b"[" * 9999],
)
async def test_what_is_no_question_is_refused(ask, question):
    answer = await ask(question)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"


async def test_a_body_without_end_is_not_read(ask):
    assert (await ask(b" " * (MAX_BODY + 1))).status_code == 413


@pytest.fixture
def few(monkeypatch):
    """Three questions at once, before the server is made."""
    monkeypatch.setattr(verify, "AT_ONCE", 3)


async def test_a_relay_that_asks_without_end_is_slowed_and_others_are_not(few, ask, clock, mesh):
    mesh.relays.append(relay(OTHER, id=2))
    question = {"NodePublic": str(MEMBER)}
    assert [(await ask(question)).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert (await ask(question, OTHER)).status_code == 200
    clock.advance(SECOND)
    assert (await ask(question)).status_code == 200


class Resolver:
    """Knows some names, and counts how often it is asked."""

    def __init__(self, **known: list[str]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.busy = self.busiest = 0

    async def __call__(self, name: str) -> Iterable[str]:
        self.asked.append(name)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.busy -= 1
        if name not in self.known:
            raise OSError("Name or service not known")
        return self.known[name]


@pytest.fixture
def resolver() -> Resolver:
    return Resolver(north=[RELAY, "2001:db8::10"], trap=["127.0.0.1", "::1"], localhost=["127.0.0.1", "::1"])


@pytest.fixture
def addresses(mesh, clock, resolver) -> RelayAddresses:
    return RelayAddresses(mesh, clock, resolver)


@pytest.mark.parametrize(
    ("record", "address", "included"),
    [
        (relay(RELAY), RELAY, True),
        (relay(RELAY), f"::ffff:{RELAY}", True),
        (relay("2001:db8::10"), "2001:db8:0::0:10", True),
        (relay("north"), RELAY, True),
        (relay("north"), "2001:db8::10", True),
        (relay("north"), OTHER, False),
        (relay("nowhere"), RELAY, False),
        (relay("north", ipv4=OTHER), OTHER, True),
        (relay("north", ipv4=OTHER), RELAY, False),
        (relay("north", ipv4=OTHER), "2001:db8::10", True),
        (relay("north", ipv6="none"), "2001:db8::10", False),
        (relay("trap"), "127.0.0.1", False),
        (relay("trap"), "::1", False),
        (relay("localhost"), "127.0.0.1", True),
        (relay("127.0.0.1"), "127.0.0.1", True),
        (relay("127.0.0.1"), "127.0.0.2", False),
        (relay("north", ipv4="127.0.0.1"), "127.0.0.1", True),
        (relay(RELAY, source="embedded"), RELAY, False),
        (relay("north", source="embedded"), RELAY, False),
        (relay("north", source="derpmap"), RELAY, True),
    ],
)
async def test_the_addresses_of_a_relay(addresses, mesh, record, address, included):
    mesh.relays[:] = [record]
    assert await addresses.include(address) is included


async def test_a_name_is_resolved_once_a_minute(addresses, mesh, clock, resolver):
    mesh.relays[:] = [relay("north"), relay("nowhere", id=2)]
    for _ in range(10):
        assert await addresses.include(RELAY)
        assert not await addresses.include(OTHER)
    assert sorted(resolver.asked) == ["north", "nowhere"]
    clock.advance(60 * SECOND)
    resolver.known["north"] = [OTHER]
    assert not await addresses.include(RELAY)
    assert await addresses.include(OTHER)
    assert sorted(resolver.asked) == ["north", "north", "nowhere", "nowhere"]


async def test_a_name_that_resolves_no_more_stands_for_what_it_was(addresses, mesh, clock, resolver):
    mesh.relays[:] = [relay("north")]
    assert await addresses.include(RELAY)
    resolver.known.clear()
    clock.advance(3600 * SECOND)
    assert await addresses.include(RELAY)


async def test_literal_addresses_ask_no_resolver(addresses, resolver):
    assert await addresses.include(RELAY)
    assert not await addresses.include(OTHER)
    assert resolver.asked == []


async def test_many_who_ask_at_once_wait_for_one_answer(addresses, mesh, resolver):
    mesh.relays[:] = [relay("north")]
    resolver.gate = asyncio.Event()
    asking = [asyncio.create_task(addresses.include(RELAY)) for _ in range(50)]
    await asyncio.sleep(0)
    resolver.gate.set()
    assert await asyncio.gather(*asking) == [True] * 50
    assert resolver.asked == ["north"]


async def test_a_resolver_that_never_answers_holds_nobody_up_for_long(addresses, mesh, resolver, monkeypatch):
    monkeypatch.setattr(verify, "PATIENCE", 0.01)
    mesh.relays[:] = [relay(f"host{number}", id=number) for number in range(1, 30)]
    resolver.gate = asyncio.Event()
    assert not await asyncio.wait_for(addresses.include(RELAY), 5)
    assert (resolver.busiest, resolver.busy) == (verify.AT_A_TIME, 0)


async def test_names_beyond_a_bound_are_not_resolved(addresses, mesh, resolver):
    mesh.relays[:] = [relay(f"host{number}", id=number) for number in range(1, 2000)]
    assert not await addresses.include(RELAY)
    assert len(resolver.asked) == verify.MAX_NAMES // 2


async def test_the_systems_resolver_knows_this_machine():
    assert "127.0.0.1" in await verify.resolve("localhost")
    with pytest.raises(OSError):
        await verify.resolve("no-such-host.invalid")
