"""gwctl apikeys, on the server's machine; and lists that come in pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from ghostwire.cli.gwctl_admin import nodes
from ghostwire.cli.gwctl_apikeys import PATH, apikeys

Run = Callable[..., Result]
Serve = Callable[[str], Any]
KEY = {
    "id": 3,
    "name": "ci",
    "author": "root",
    "created": 1,
    "expires": None,
    "expired": False,
    "read_only": True,
}
MADE = (200, {"key": KEY, "secret": "gwapi-00-11"})


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["create", "ci"], {"name": "ci", "ttl_seconds": 0, "read_only": False}),
        (
            ["create", "ci", "--read-only", "--expires", "7d"],
            {"name": "ci", "ttl_seconds": 604800, "read_only": True},
        ),
    ],
    ids=["usual", "bounded"],
)
def test_a_key_is_made_and_piped_alone(serve: Serve, run: Run, words: list[str], order: dict[str, object]) -> None:
    fake = serve("server")
    fake.answers["POST", PATH] = MADE
    assert run(apikeys, *words).stdout == "gwapi-00-11\n"
    assert fake.asked == [("POST", PATH, order)]
    assert json.loads(run(apikeys, *words, "--json").stdout) == MADE[1]


def test_keys_are_listed_without_their_secrets(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers["GET", PATH] = (200, {"keys": [KEY, {**KEY, "id": 4, "expired": True, "read_only": False}]})
    shown = run(apikeys, "list").stdout
    assert all(word in shown for word in ("ci", "look", "change", "never", "expired", "root"))
    fake.answers["GET", PATH] = (200, {"keys": []})
    assert "gwctl apikeys create" in run(apikeys, "list").stdout


def test_a_key_is_deleted_once_that_is_confirmed(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers["DELETE", f"{PATH}/ci"] = (200, KEY)
    assert run(apikeys, "delete", "ci").exit_code != 0
    assert "ci is deleted" in run(apikeys, "delete", "ci", "--yes").stdout
    assert fake.asked == [("DELETE", f"{PATH}/ci", None)]


def test_a_list_of_several_pages_is_shown_whole(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers["GET", "/api/v1/nodes"] = (200, {"nodes": [{"id": 1}], "next": 1})
    fake.answers["GET", "/api/v1/nodes?after=1"] = (200, {"nodes": [{"id": 2}], "next": 2})
    fake.answers["GET", "/api/v1/nodes?after=2"] = (200, {"nodes": [{"id": 3}]})
    shown = json.loads(run(nodes, "list", "--json").stdout)
    assert shown == {"nodes": [{"id": 1}, {"id": 2}, {"id": 3}]}
