"""gwctl relays, on the server's machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from ghostwire.cli import gwctl_relays
from ghostwire.cli.gwctl_relays import relays

Run = Callable[..., Result]
Serve = Callable[[str], Any]
PATH = gwctl_relays.PATH
RELAY = {
    "id": 3,
    "name": "north-1",
    "region": {"id": 900, "name": "north"},
    "host": "2001:db8::1",
    "port": 3478,
    "stun_port": 3479,
    "ipv4": "none",
    "ipv6": "",
    "tls": True,
    "certificate": "ab" * 32,
    "key": "derpkey:00",
    "machine_key": "mkey:00",
    "capacity": 500,
    "draining": True,
    "source": "enrolled",
    "created": 1,
    "state": "connected",
    "token_expires": None,
    "clients": 41,
    "bytes_per_second": 2048,
    "version": "0.1",
    "nodes": 40,
    "takers": 2,
}
NEW = {**RELAY, "state": "waiting", "clients": None, "bytes_per_second": None, "token_expires": 10**10, "nodes": 0}
CREATE = ["create", "north-1", "--region", "north", "--host", "a.example.com"]


def test_relays_are_listed_for_people_and_programs(serve: Serve, run: Run) -> None:
    serve("server").answers["GET", PATH] = (200, {"relays": [RELAY, {**RELAY, "nodes": 0}]})
    shown = run(relays, "list").stdout
    words = ("north-1", "north (900)", "[2001:db8::1]:3478", "connected, draining", "connected, drained", "41", "500")
    assert all(word in shown for word in words)
    assert json.loads(run(relays, "list", "--json").stdout)["relays"][0] == RELAY


def test_relays_are_listed_by_region(serve: Serve, run: Run) -> None:
    other = {**RELAY, "id": 1, "name": "south-1", "region": {"id": 901, "name": "south"}}
    serve("server").answers["GET", PATH] = (200, {"relays": [other, RELAY]})
    shown = run(relays, "list").stdout
    assert shown.index("north-1") < shown.index("south-1")


def test_what_is_usual_for_a_new_relay_is_not_said_of_one_to_be_changed(run: Run) -> None:
    assert "Usual: 3478." in run(relays, "create", "--help").stdout
    assert "Usual" not in run(relays, "set", "--help").stdout


def test_a_mesh_without_relays_says_how_to_get_one(serve: Serve, run: Run) -> None:
    serve("server").answers["GET", PATH] = (200, {"relays": []})
    assert "relays create" in run(relays, "list").stdout


def test_a_relay_is_shown_with_all_it_has(serve: Serve, run: Run) -> None:
    answers = serve("server").answers
    answers["GET", f"{PATH}/3"], answers["GET", f"{PATH}/new"] = (200, RELAY), (200, NEW)
    shown = run(relays, "show", "3").stdout
    assert all(word in shown for word in ("derpkey:00", "mkey:00", "2.0 KiB/s", "3479", "none", "connected, draining"))
    assert json.loads(run(relays, "show", "3", "--json").stdout) == RELAY
    assert "token expires" in run(relays, "show", "new").stdout


def test_a_new_relays_token_is_all_that_goes_to_stdout(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers["POST", PATH] = (200, {"relay": NEW, "token": "gwjoin-token"})
    result = run(relays, *CREATE)
    assert result.stdout == "gwjoin-token\n"
    assert "ghostwire relay --token-file" in result.stderr
    assert fake.asked == [("POST", PATH, {"name": "north-1", "region": "north", "host": "a.example.com"})]
    assert json.loads(run(relays, *CREATE, "--json").stdout)["token"] == "gwjoin-token"


def test_what_is_said_of_a_new_relay_is_asked_for(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers["POST", PATH] = (200, {"relay": NEW, "token": "gwjoin-token"})
    numbers = ("--region-id", "7", "--port", "443", "--stun-port", "0", "--capacity", "9")
    more = ("--ipv4", "192.0.2.1", "--ipv6", "none", "--ttl", "2d")
    assert run(relays, *CREATE, *numbers, *more).exit_code == 0
    asked = fake.asked[0][2]
    assert (asked["region_id"], asked["port"], asked["stun_port"], asked["capacity"]) == (7, 443, 0, 9)
    assert (asked["ipv4"], asked["ipv6"], asked["ttl_seconds"]) == ("192.0.2.1", "none", 172800)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["set", "a b", "--capacity", "5"], ("PATCH", f"{PATH}/a%20b", {"capacity": 5})),
        (["set", "a", "--ipv4", "", "--stun-port", "0"], ("PATCH", f"{PATH}/a", {"ipv4": "", "stun_port": 0})),
        (["drain", "a"], ("POST", f"{PATH}/a/drain", {})),
        (["undrain", "a"], ("POST", f"{PATH}/a/undrain", {})),
        (["delete", "3", "--yes"], ("DELETE", f"{PATH}/3", None)),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_relay_is_changed_by_one_request(
    serve: Serve, run: Run, words: list[str], asked: tuple[Any, ...], as_json: bool
) -> None:
    fake = serve("server")
    fake.answers[asked[0], asked[1]] = (200, RELAY)
    result = run(relays, *words, *(["--json"] if as_json else []))
    assert result.exit_code == 0
    assert fake.asked == [asked]
    assert not as_json or json.loads(result.stdout) == RELAY


def test_draining_says_how_many_nodes_are_left(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers["POST", f"{PATH}/a/drain"] = (200, RELAY)
    assert "its nodes (40) move" in run(relays, "drain", "a").stdout
    fake.answers["POST", f"{PATH}/a/drain"] = (200, {**RELAY, "takers": 0})
    assert "no other relay of region north takes its nodes (40)" in run(relays, "drain", "a").stdout
    fake.answers["POST", f"{PATH}/a/drain"] = (200, {**RELAY, "nodes": 0})
    assert "drained" in run(relays, "drain", "a").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "a"], "--capacity"),
        (["create", "a", "--host", "h"], "--region"),
        (["create", "a", "--region", "r", "--host", "h", "--port", "0"], "--port"),
        (["create", "a", "--region", "r", "--host", "h", "--ttl", "soon"], "--ttl"),
        (["delete", "a"], "--yes"),
    ],
)
def test_nothing_is_asked_of_the_server_by_words_that_make_no_sense(
    serve: Serve, run: Run, words: list[str], said: str
) -> None:
    fake = serve("server")
    result = run(relays, *words)
    assert (result.exit_code, said in result.stderr) == (2, True)
    assert fake.asked == []


def test_a_derp_map_is_printed_as_it_is(serve: Serve, run: Run) -> None:
    serve("server").answers["GET", "/api/v1/derpmap"] = (200, {"Regions": {}})
    assert json.loads(run(relays, "derpmap").stdout) == {"Regions": {}}
