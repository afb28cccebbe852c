"""`gwctl policy` against a server that runs: by hand at a terminal, by programs, and over the server's restarts."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from company import typed
from natlab import Lab
from programs import Mesh, Server, gwctl_words

OPEN = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}\n'
WEB = '{"acls": [\r\n  // only the web: \u00fcberall\r\n  {"action": "accept", "src": ["*"], "dst": ["*:443"]},\r\n]}'
WRONG = """{
  "groups": {"group:dev": ["ada@example.com"]},
  "acls": [
    {"action": "accept", "src": ["group:devs"], "dst": ["*:22"]},
    {"action": "accept", "src": ["*"], "dst": ["*:99999"]},
  ],
}
"""


@pytest.fixture
def server(namespaces: None, tmp_path: Path) -> Iterator[Server]:
    with Lab() as lab:
        mesh = Mesh(lab, tmp_path)
        mesh.start_server()
        yield mesh.server


def written(folder: Path, name: str, text: str) -> str:
    """A file with this text, to the byte."""
    (folder / name).write_bytes(text.encode())
    return str(folder / name)


def test_a_policy_is_set_by_hand_after_a_look_at_what_changes(server: Server, tmp_path: Path) -> None:
    first, second = written(tmp_path, "open", OPEN), written(tmp_path, "web", WEB)
    code, screen = typed(server, "policy", "set", first, answer="n")
    assert (code, "+{" in screen) == (130, True)
    assert json.loads(server.gwctl("policy", "get", "--json"))["version"] == 0
    code, screen = typed(server, "policy", "set", first, "--note", "for a start", answer="y")
    assert (code, "version 1 is in force" in screen) == (0, True)

    def meanwhile() -> None:
        server.gwctl("policy", "set", second, "--yes")

    code, screen = typed(server, "policy", "set", written(tmp_path, "other", OPEN + "\n"), answer="y", before=meanwhile)
    assert code == 8
    assert "the policy in force is version 2, by root, not 1, which you looked at; nothing was stored" in screen
    got = subprocess.run(gwctl_words(server.state, "policy", "get"), capture_output=True, check=True)
    assert got.stdout == WEB.encode()


def test_versions_are_listed_compared_and_brought_back(server: Server, tmp_path: Path) -> None:
    for name, text in (("open", OPEN), ("web", WEB)):
        server.gwctl("policy", "set", written(tmp_path, name, text), "--yes", "--note", name)
    assert server.gwctl("policy", "rollback", "1", fails=2).endswith("say --yes")
    assert server.gwctl("policy", "rollback", "1", "--yes").endswith(
        "version 3 is in force, with the text of version 1\n"
    )
    history = json.loads(server.gwctl("policy", "history", "--json"))["versions"]
    assert [(each["version"], each["note"]) for each in history] == [(3, "rollback to 1"), (2, "web"), (1, "open")]
    assert {each["author"] for each in history} == {"root"}
    assert server.gwctl("policy", "get") == OPEN
    assert server.gwctl("policy", "diff", "2", "3").startswith("--- version 2\n+++ version 3\n")


def test_what_is_wrong_is_said_whole_with_its_place_and_changes_nothing(server: Server, tmp_path: Path) -> None:
    server.gwctl("policy", "set", written(tmp_path, "open", OPEN), "--yes")
    path = written(tmp_path, "wrong", WRONG)
    for words in (("check", path, "--json"), ("set", path, "--yes", "--json")):
        done = subprocess.run(gwctl_words(server.state, "policy", *words), capture_output=True, text=True)
        assert done.returncode == 1
        first, second = json.loads(done.stdout)["errors"]
        assert first == {
            "line": 4,
            "column": 34,
            "message": "unknown group `group:devs`; did you mean `group:dev`?",
        }
        assert (second["line"], second["column"]) == (5, 48)
    assert server.gwctl("policy", "set", path, "--yes", fails=1).startswith(f"{path}:5:48: ")
    assert server.gwctl("policy", "get") == OPEN


def test_a_stored_policy_holds_after_restarts_and_without_its_engine_nothing_starts(
    server: Server, tmp_path: Path
) -> None:
    assert "every node may reach every other on every port" in server.text()
    server.gwctl("policy", "set", written(tmp_path, "web", WEB), "--yes")
    server.end(signal.SIGKILL)
    settings = server.config.read_text()
    server.config.write_text(f'plugins = ["-policy_acl"]\n{settings}')
    code, line = server.fails()
    assert (code, "Traceback" in server.text()) == (3, False)
    assert line.startswith("error: version 1 of the policy is stored here for the engine 'acl', which is not selected")
    server.config.write_text(settings)
    server.start()
    assert "policy: version 1 by root (no note) is in force: 1 rule" in server.text().splitlines()[-3]
    assert server.gwctl("policy", "get").splitlines() == WEB.splitlines()


def test_without_a_policy_nobody_reaches_anybody_where_that_is_set_and_it_is_said(server: Server) -> None:
    server.end()
    server.config.write_text(server.config.read_text() + 'without_policy = "deny"\n')
    server.start()
    said = "no policy is stored: no node may reach another, as without_policy = 'deny' under [server] says"
    assert f"WARNING ghostwire.server: {said}" in server.text()
    assert said in server.gwctl("server", "status")
