"""What a relay answers over HTTP, in memory and behind the real front door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.app import application
from ghostwire_derp.routes import DerpRoutes


@pytest_asyncio.fixture
async def door(relay_context) -> AsyncIterator[FrontDoor]:
    door = FrontDoor(application([DerpRoutes(relay_context())]))
    await door.start("127.0.0.1", 0)
    yield door
    await door.close()


@pytest_asyncio.fixture
async def http(door) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{door.port}") as client:
        yield client


@pytest.mark.parametrize("path", ["/derp/probe", "/derp/latency-check"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_latency_is_measured_by_an_empty_answer(http, method, path):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/derp/probe", "/derp/latency-check", "/generate_204"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(http, method, path):
    assert (await http.request(method, path)).status_code == 405


async def test_derp_without_an_upgrade_says_what_it_needs(http):
    answer = await http.get("/derp")
    assert answer.status_code == 426
    assert answer.text.strip() == "DERP requires connection upgrade"
    assert answer.headers["upgrade"] == "DERP"


async def test_no_captive_portal_is_here(http):
    answer = await http.get("/generate_204")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "no-cache" in answer.headers["cache-control"]
    assert "x-tailscale-response" not in answer.headers


@pytest.mark.parametrize("challenge", ["a", "ts_0.relay-1.example.com:443", "x" * 64])
async def test_a_challenge_is_answered(http, challenge):
    answer = await http.get("/generate_204", headers={"X-Tailscale-Challenge": challenge})
    assert answer.headers["x-tailscale-response"] == f"response {challenge}"


@pytest.mark.parametrize("challenge", ["", "x" * 65, "two words", "a\tb", "ä", "<script>"])
async def test_a_challenge_that_no_client_sends_is_not_repeated(http, challenge):
    answer = await http.get("/generate_204", headers=[("x-tailscale-challenge", challenge.encode("latin-1"))])
    assert answer.status_code == 204
    assert "x-tailscale-response" not in answer.headers


async def test_a_relays_root_says_what_it_is(http):
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "GhostWire relay" in answer.text


async def test_a_relay_that_is_no_server_verifies_nobody(http):
    assert (await http.post("/verify", json={"NodePublic": "nodekey:" + "00" * 32})).status_code == 404


async def test_the_server_keeps_its_root_page_to_itself(server_context):
    paths: list[Any] = [getattr(route, "path", "") for route in DerpRoutes(server_context()).public()]
    assert "/verify" in paths
    assert "/" not in paths
