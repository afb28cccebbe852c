"""`gwctl policy` on the server's machine: what it shows, asks, sends and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from ghostwire_policy_acl import command_texts
from ghostwire_policy_acl.command import policy

Run = Callable[..., Result]
Serve = Callable[[str], Any]
PATH = "/api/v1/policy"
OLD, NEW = "// old\r\n{}", '{"acls": []}\n'
WRONG = {"line": 2, "column": 5, "message": "unknown group"}
FINE = (200, {"errors": [], "warnings": []})


def version(number: int, source: str = OLD, **fields: Any) -> dict[str, Any]:
    about = {"engine": "acl", "author": "root", "created": 1, "note": "why", "size": len(source)}
    return {"version": number, "source": source, **about, **fields}


@pytest.fixture
def server(serve: Serve) -> Any:
    """A server with version 3 in force, that takes any policy as version 4."""
    fake = serve("server")
    fake.answers |= {
        ("GET", PATH): (200, version(3)),
        ("PUT", PATH): (200, version(4, NEW)),
        ("POST", f"{PATH}/check"): FINE,
        ("POST", f"{PATH}/rollback"): (200, version(4, NEW)),
        ("GET", f"{PATH}/history/1"): (200, version(1, NEW)),
    }
    return fake


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policy.hujson"
    path.write_text(NEW)
    return str(path)


def asked(fake: Any, method: str) -> list[Any]:
    return [body for how, path, body in fake.asked if how == method]


def test_the_policy_in_force_is_printed_to_the_byte(server: Any, run: Run) -> None:
    assert run(policy, "get").stdout_bytes == OLD.encode()
    assert json.loads(run(policy, "get", "--json").stdout) == version(3)


def test_where_none_is_stored_nothing_is_printed_that_could_be_taken_for_one(server: Any, run: Run) -> None:
    server.answers["GET", PATH] = (200, {"version": 0, "source": "", "summary": "no policy is stored: all may all"})
    result = run(policy, "get")
    assert (result.exit_code, result.stdout) == (8, "")
    assert result.stderr == "error: no policy is stored: all may all\n"


def test_setting_shows_what_changes_and_replaces_the_version_that_it_showed(server: Any, run: Run, file: str) -> None:
    result = run(policy, "set", file, "--yes", "--note", "because")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:2] == ["--- version 3", f"+++ {file}"]
    assert "-// old\N{REPLACEMENT CHARACTER}" in lines
    assert lines[4:7] == ["-{}", "\\ no newline at the end", '+{"acls": []}']
    assert lines[-1] == "version 4 is in force"
    assert asked(server, "PUT") == [{"source": NEW, "note": "because"}]
    assert server.if_match == ['"3"']


def test_setting_asks_and_takes_no_for_an_answer(
    server: Any, run: Run, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_texts, "at_terminal", lambda: True)
    assert run(policy, "set", file, input="n\n").exit_code != 0
    assert asked(server, "PUT") == []
    assert run(policy, "set", file, input="y\n").exit_code == 0
    assert len(asked(server, "PUT")) == 1


@pytest.mark.parametrize("words", [("set", "-"), ("rollback", "1")], ids=["set", "rollback"])
def test_where_nobody_can_answer_nothing_is_changed_without_yes(server: Any, run: Run, words: tuple[str, ...]) -> None:
    result = run(policy, *words, input=NEW)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert {method for method, path, _ in server.asked if not path.endswith("check")} == {"GET"}


def test_a_policy_may_come_from_stdin(server: Any, run: Run) -> None:
    assert run(policy, "set", "-", "--yes", input=NEW).exit_code == 0
    assert asked(server, "PUT") == [{"source": NEW, "note": ""}]


def test_for_programs_setting_prints_json_alone(server: Any, run: Run, file: str) -> None:
    result = run(policy, "set", file, "--yes", "--json")
    assert json.loads(result.stdout) == {k: v for k, v in version(4, NEW).items() if k != "source"}
    assert "+++" in result.stderr


def test_the_same_policy_is_not_set_again(server: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(OLD.encode())
    result = run(policy, "set", str(tmp_path / "same"))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'same'} is in force already, as version 3\n")
    assert asked(server, "PUT") == []


def test_the_first_policy_replaces_none(server: Any, run: Run, file: str) -> None:
    server.answers["GET", PATH] = (200, {"version": 0, "source": "", "summary": ""})
    assert run(policy, "set", file, "--yes").stdout.startswith("--- no policy\n")
    assert server.if_match == ['"0"']


def test_a_stale_write_is_said_to_be_one(server: Any, run: Run, file: str) -> None:
    message = "the policy in force is version 4, by bob, not 3, which you looked at; nothing was stored"
    server.answers["PUT", PATH] = (409, {"error": {"code": "stale", "message": message}})
    result = run(policy, "set", file, "--yes")
    assert (result.exit_code, result.stderr) == (8, f"error: {message}\n")


def test_a_wrong_policy_is_refused_with_all_that_is_wrong_before_anything_is_asked(
    server: Any, run: Run, file: str
) -> None:
    wrong = [WRONG, {"line": 0, "column": 0, "message": "no rule"}]
    server.answers["POST", f"{PATH}/check"] = (200, {"errors": wrong, "warnings": []})
    result = run(policy, "set", file)
    assert result.exit_code == 1
    assert result.stderr == f"{file}:2:5: unknown group\n{file}: no rule\n"
    assert asked(server, "PUT") == []
    assert json.loads(run(policy, "set", file, "--json").stdout) == {"errors": wrong}


@pytest.mark.parametrize(("words", "name"), [(("set",), ""), (("rollback", "1"), "version 1")], ids=["set", "rollback"])
def test_what_the_server_finds_at_the_last_moment_is_shown_too(
    server: Any, run: Run, file: str, words: tuple[str, ...], name: str
) -> None:
    refusal = (422, {"error": {"code": "policy", "message": "policy: 2:5: unknown group", "findings": [WRONG]}})
    server.answers |= {("PUT", PATH): refusal, ("POST", f"{PATH}/rollback"): refusal}
    result = run(policy, *words, *([] if name else [file]), "--yes")
    assert (result.exit_code, result.stderr) == (1, f"{name or file}:2:5: unknown group\n")


def test_checking_lists_errors_and_warnings_by_place_and_tells_by_its_exit_code(
    server: Any, run: Run, file: str
) -> None:
    assert run(policy, "check", file).stdout == f"{file}: nothing is wrong with it\n"
    doubt = {"line": 1, "column": 1, "message": "names nobody"}
    server.answers["POST", f"{PATH}/check"] = (200, {"errors": [], "warnings": [doubt]})
    result = run(policy, "check", file)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, f"{file}:1:1: warning: names nobody")
    server.answers["POST", f"{PATH}/check"] = (200, {"errors": [WRONG], "warnings": [doubt]})
    result = run(policy, "check", "-", input=NEW)
    assert result.exit_code == 1
    assert result.stdout == "<stdin>:2:5: unknown group\n<stdin>:1:1: warning: names nobody\n"
    shown = json.loads(run(policy, "check", file, "--json").stdout)
    assert shown == {"errors": [WRONG], "warnings": [doubt]}
    assert asked(server, "POST")[0] == {"source": NEW}


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"{\xff}", "not UTF-8 at byte 2"), (b" " * ((4 << 20) + 1), "at most 4 MiB")],
    ids=["not text", "too large"],
)
def test_what_can_be_no_policy_is_not_sent(server: Any, run: Run, tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(data)
    result = run(policy, "check", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert said in result.stderr
    assert server.asked == []


def test_the_policys_own_tests_are_run_and_those_that_fail_are_told(server: Any, run: Run) -> None:
    server.answers["POST", f"{PATH}/test"] = (200, {"failures": [], "version": 3})
    assert run(policy, "test").stdout == "all tests of version 3 pass\n"
    server.answers["POST", f"{PATH}/test"] = (200, {"failures": [WRONG], "version": 3})
    result = run(policy, "test")
    assert (result.exit_code, result.stdout) == (1, "version 3:2:5: unknown group\n")
    result = run(policy, "test", "--json")
    assert (result.exit_code, json.loads(result.stdout)["failures"]) == (1, [WRONG])


def test_the_history_is_listed_and_each_version_printed_to_the_byte(server: Any, run: Run) -> None:
    listed = {"versions": [version(3), version(1, NEW, author="")]}
    server.answers |= {("GET", f"{PATH}/history"): (200, listed), ("GET", f"{PATH}/history/3"): (200, version(3))}
    shown = run(policy, "history").stdout
    assert all(word in shown for word in ("root", "why", "10 B"))
    assert json.loads(run(policy, "history", "--json").stdout) == listed
    assert run(policy, "show", "3").stdout_bytes == OLD.encode()
    server.answers["GET", f"{PATH}/history"] = (200, {"versions": []})
    assert "policy set" in run(policy, "history").stdout


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        (("FILE",), "version 3", "FILE"),
        (("1",), "version 1", "version 3"),
        (("1", "FILE"), "version 1", "FILE"),
        (("FILE", "1"), "FILE", "version 1"),
    ],
    ids=" ".join,
)
def test_versions_and_files_are_compared(
    server: Any, run: Run, file: str, words: tuple[str, ...], first: str, second: str
) -> None:
    Path(file).write_text("something else\n")
    words, first, second = (
        tuple(w.replace("FILE", file) for w in words),
        *(t.replace("FILE", file) for t in (first, second)),
    )
    shown = run(policy, "diff", *words).stdout.splitlines()
    assert shown[:2] == [f"--- {first}", f"+++ {second}"]
    assert json.loads(run(policy, "diff", *words, "--json").stdout)["diff"][0] == f"--- {first}"


def test_rolling_back_shows_what_changes_and_makes_a_new_version(server: Any, run: Run) -> None:
    result = run(policy, "rollback", "1", "--yes")
    assert result.stdout.splitlines()[:2] == ["--- version 3", "+++ version 1"]
    assert result.stdout.splitlines()[-1] == "version 4 is in force, with the text of version 1"
    assert asked(server, "POST") == [{"version": 1}]
    assert server.if_match == ['"3"']
    server.answers["GET", f"{PATH}/history/2"] = (200, version(2))
    assert "in force already" in run(policy, "rollback", "2", "--yes").stdout
    assert len(asked(server, "POST")) == 1


ANSWER = {
    "allowed": True,
    "partly": False,
    "summary": "allowed: ada may reach web on tcp port 22, by the rule at line 7",
    "rules": [{"line": 7, "column": 3, "text": '{"action":\n "accept"}'}],
    "near_misses": [],
    "refused": [],
    "reasons": [],
}


def test_the_deciding_rule_is_explained(server: Any, run: Run) -> None:
    server.answers["POST", f"{PATH}/explain"] = (200, ANSWER)
    result = run(policy, "explain", "ada", "web:22", "--proto", "tcp")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [ANSWER["summary"], '      7  {"action":', '      8   "accept"}'],
    )
    assert asked(server, "POST") == [{"source": "ada", "destination": "web:22", "protocol": "tcp"}]
    assert json.loads(run(policy, "explain", "ada", "web:22", "--json").stdout) == ANSWER


def test_where_none_decides_the_nearest_are_shown_and_the_exit_code_says_no(server: Any, run: Run) -> None:
    miss = {"line": 7, "column": 3, "text": '{"action": "accept"}', "why": "port 22 is allowed, not 23"}
    denied = {"allowed": False, "summary": "denied: no rule", "rules": [], "near_misses": [miss], "reasons": ["so"]}
    server.answers["POST", f"{PATH}/explain"] = (200, {**ANSWER, **denied})
    result = run(policy, "explain", "ada", "web:23")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "denied: no rule",
        "  not by line 7: port 22 is allowed, not 23",
        '      7  {"action": "accept"}',
        "  so",
    ]


TOPOLOGY = {
    "users": [{"name": "ada"}],
    "nodes": {"laptop": {"ipv4": "100.64.0.2", "user": "ada"}, "web": {"ipv4": "100.64.0.3", "tags": ["tag:web"]}},
}
ACLS = """{
  "tagOwners": {"tag:web": []},
  "acls": [{"action": "accept", "src": ["*"], "dst": ["tag:web:22"]}],
}"""


@pytest.fixture
def described(tmp_path: Path) -> tuple[str, str]:
    """A policy and a topology as files."""
    (tmp_path / "policy.hujson").write_text(ACLS)
    (tmp_path / "nodes.json").write_text(json.dumps(TOPOLOGY))
    return str(tmp_path / "policy.hujson"), str(tmp_path / "nodes.json")


def test_a_policy_is_compiled_for_a_described_mesh_without_a_server(run: Run, described: tuple[str, str]) -> None:
    file, nodes = described
    compiled = json.loads(run(policy, "compile", file, "--nodes", nodes, "--json").stdout)
    assert compiled["laptop"] == []
    (filter_,) = compiled["web"]
    assert {"net": "100.64.0.3/32", "ports": [22, 22]} in filter_["dst"]
    shown = run(policy, "compile", "-", "--nodes", nodes, input=ACLS).stdout
    assert all(word in shown for word in ("web", "100.64.0.3/32", "22"))
    assert "laptop" not in shown


def test_a_policy_that_compiles_for_nobody_is_said_to_with_its_errors(run: Run, described: tuple[str, str]) -> None:
    file, nodes = described
    Path(file).write_text(ACLS.replace("tag:web:22", "tag:wbe:22").replace('["*"]', '["group:x"]'))
    result = run(policy, "compile", file, "--nodes", nodes)
    assert result.exit_code == 1
    assert [line.rpartition(": ")[0].startswith(f"{file}:3:") for line in result.stderr.splitlines()] == [True, True]
    result = run(policy, "compile", file, "--nodes", nodes, "--json")
    assert result.exit_code == 1
    assert [each["line"] for each in json.loads(result.stdout)["errors"]] == [3, 3]


@pytest.mark.parametrize("text", ["{", "[]", '{"nodes": 7}'], ids=["no JSON", "a list", "another shape"])
def test_a_topology_that_is_none_is_refused(run: Run, described: tuple[str, str], text: str) -> None:
    file, nodes = described
    Path(nodes).write_text(text)
    assert run(policy, "compile", file, "--nodes", nodes).exit_code == 2
