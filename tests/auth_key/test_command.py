"""`gwctl preauthkeys` against a stand-in for the server's API."""

import json
from typing import Any, ClassVar

import click.testing
import pytest

from ghostwire_auth_key import command

KEY = {
    "id": 7,
    "user": {"id": 1, "name": "admin"},
    "reusable": False,
    "ephemeral": True,
    "tags": ["tag:web"],
    "created": 0,
    "expires": 10,
    "uses": 0,
    "state": "usable",
}


class Api:
    """Answers as the server would, and remembers what it was asked."""

    asked: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, folders: object) -> None:
        pass

    def all(self, path: str, name: str) -> dict[str, Any]:
        self.asked.append((path, None))
        return {name: [KEY]}

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        self.asked.append((path, body))
        return {"key": KEY, "token": "gwjoin-token"}


class Program:
    folders = None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    monkeypatch.setattr(command, "ServerApi", Api)
    Api.asked = []
    return Api.asked


def run(*words: str) -> str:
    result = click.testing.CliRunner().invoke(command.preauthkeys, words, obj=Program())
    assert result.exception is None, result.output
    return result.output


def test_piped_create_prints_the_token_alone(asked: list[tuple[str, Any]]) -> None:
    assert run("create") == "gwjoin-token\n"
    assert asked == [(command.PATH, {"user": "", "reusable": False, "ephemeral": False, "tags": (), "ttl_seconds": 0})]


def test_create_asks_for_what_was_said(asked: list[tuple[str, Any]]) -> None:
    run("create", "--user", "bob", "--reusable", "--ephemeral", "--tag", "web", "--ttl", "7d")
    assert asked[0][1] == {"user": "bob", "reusable": True, "ephemeral": True, "tags": ("web",), "ttl_seconds": 604800}


def test_json_is_for_programs(asked: list[tuple[str, Any]]) -> None:
    assert json.loads(run("create", "--json"))["token"] == "gwjoin-token"
    assert json.loads(run("list", "--json")) == {"keys": [KEY]}


def test_list_shows_each_key_without_its_secret(asked: list[tuple[str, Any]]) -> None:
    assert "tag:web" in run("list")


def test_revoke_names_the_key(asked: list[tuple[str, Any]]) -> None:
    run("revoke", "7")
    assert asked == [(f"{command.PATH}/7/revoke", None)]
