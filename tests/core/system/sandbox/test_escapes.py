"""Everything that a hostile plugin tries fails, and everything that an honest one needs works."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ghostwire.system.sandbox.landlock import Ruleset
from ghostwire.system.sandbox.libc import Libc

ROOT = os.geteuid() == 0
USER = 61500
WAYS = {
    "own-user": {"user": USER},
    "roots-user": {},
    "plain-user": {"plain": True},
    "old-kernel": {"landlock": 3, "no close_range": True},
    "own-user-without-landlock": {"user": USER, "landlock": 0, "readable": True},
    "own-user-without-filter": {"user": USER, "no seccomp": True},
}
LEFT = {
    "own-user-without-landlock": {
        "read the list of users",
        "list the root folder",
        "read what the machine shows of itself",
        "write into shared memory",
    },
    "own-user-without-filter": {
        "connect to a Unix socket",
        "make a UDP socket",
        "make a netlink socket",
        "make a pair that can send to others",
        "listen on a socket it was given",
        "connect by sending (TCP fast open)",
        "attach a BPF filter to a socket",
        "have signals sent to its parent",
        "open its parent as a descriptor",
        "fork",
        "watch others' files",
        "keep memory in anonymous files",
        "use io_uring",
        "use a keyring",
        "unshare a user namespace",
        "be dumpable again",
        "outlive its parent",
        "leave its session",
        "type into a terminal",
    },
}
"""What may succeed where a measure lacks, as the package says."""
UNTRIED = {"start a program", "type into a terminal", "leave its session", "use a keyring", "use io_uring"}
"""Not tried by the unconfined process: they would end it or depend on the machine."""


def names(table: str) -> list[str]:
    """The keys of a table of hostile.py, which is a program and not imported."""
    tree = ast.parse(Path(__file__).with_name("hostile.py").read_text("utf-8"))
    made = next(n for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == table)
    assert isinstance(made.value, ast.Dict)
    return [key.value for key in made.value.keys if isinstance(key, ast.Constant)]


@cache
def landlocked() -> bool:
    try:
        return Ruleset(Libc()).version >= 3
    except OSError:
        return False


@pytest.fixture(scope="module", params=list(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not ROOT and name != "plain-user":
        pytest.skip("only root can give a process a user of its own")
    if not landlocked():
        pytest.skip("this kernel has no Landlock of version 3")
    return name


@pytest.fixture(scope="module")
def found(way: str, run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What one process achieved that was confined this way."""
    return run(**WAYS[way])


@pytest.fixture(scope="module")
def free(run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What the same program achieves that was not confined."""
    return run(free=True, skip=sorted(UNTRIED))


@pytest.mark.parametrize("escape", names("ESCAPES"))
def test_a_confined_process_cannot(escape: str, way: str, found: dict[str, Any]) -> None:
    if escape in LEFT.get(way, ()):
        pytest.skip("the measure against it lacks here, as the package says")
    assert found["escapes"][escape] not in ("done", "EFAULT", "EBADR"), found


@pytest.mark.skipif(not ROOT, reason="what an unconfined process may do depends on its user")
@pytest.mark.parametrize("escape", [name for name in names("ESCAPES") if name not in UNTRIED])
def test_an_unconfined_process_can(escape: str, free: dict[str, Any]) -> None:
    assert free["escapes"][escape] == "done"


@pytest.mark.parametrize("work", names("WORK"))
def test_a_confined_process_can(work: str, found: dict[str, Any]) -> None:
    assert found["work"][work] == "done", found


def test_its_parent_saw_no_signal(found: dict[str, Any]) -> None:
    assert (found["signals"], found["exit"]) == (0, 0), found["errors"]


def test_it_has_the_user_it_was_given_and_no_groups(way: str, found: dict[str, Any]) -> None:
    user = WAYS[way].get("user")
    if user:
        assert found["status"] == {"uid": [user] * 3, "gid": [user] * 3, "groups": []}
        assert "own user" in found["measures"]
    else:
        assert "own user" in found["lacking"]


def test_what_lacks_is_said(way: str, found: dict[str, Any]) -> None:
    lacks = {"own-user-without-landlock": "files", "own-user-without-filter": "system calls"}
    assert (lacks[way] in found["lacking"]) if way in lacks else {"files", "system calls"} <= set(found["measures"])


@pytest.mark.parametrize("lack", [{"landlock": 0}, {"no seccomp": True}], ids=["landlock", "seccomp"])
def test_without_a_user_of_its_own_neither_may_lack(lack: dict[str, Any], run: Callable[..., dict[str, Any]]) -> None:
    refused = run(**lack)["refused"]
    assert "cannot keep a plugin from the node's keys" in refused
    assert "trusted = true" in refused


@pytest.mark.skipif(not ROOT, reason="only root can give a process a user of its own")
def test_a_python_that_its_own_user_cannot_read_needs_landlock(run: Callable[..., dict[str, Any]]) -> None:
    if not landlocked():
        pytest.skip("this kernel has no Landlock of version 3")
    found = run(user=USER, closed=True)
    assert "closed to its own user" in found["lacking"]["capabilities"]
    assert set(found["escapes"].values()) & {"done"} == set()
    assert "is closed to the plugin's own user" in run(user=USER, closed=True, landlock=0)["refused"]
    assert "cannot keep a plugin from the node's keys" in run(user=USER, closed=True, unenforced=True)["refused"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other processors have no second kind of call")
@pytest.mark.parametrize("kind", ["int80", "x32"])
def test_calls_of_another_processor_kill(kind: str, run: Callable[..., dict[str, Any]]) -> None:
    if not landlocked():
        pytest.skip("this kernel has no Landlock of version 3")
    assert run(alone=kind)["exit"] == -31  # SIGSYS


def test_it_ends_with_its_parent(victims: Callable[..., list[Any]]) -> None:
    if not landlocked():
        pytest.skip("this kernel has no Landlock of version 3")
    command, _ = victims(alone="wait")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)  # ends when all that hold the pipe did
    assert ended.stdout.startswith("confined")
