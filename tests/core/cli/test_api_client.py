"""The client of the local APIs: what each answer becomes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostwire import errors
from ghostwire.cli.api_client import NodeApi, ServerApi, segment
from ghostwire.folders import Folders


@pytest.fixture
def api(state: Path) -> NodeApi:
    return NodeApi(Folders(state, client=True))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "usage", errors.UsageError),
        (400, "bad-name", errors.Refused),
        (401, "authentication-failed", errors.AuthenticationFailed),
        (403, "permission-denied", errors.PermissionDenied),
        (404, "not-found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (500, "state", errors.StateError),
        (500, "platform", errors.PlatformError),
        (500, "plugin", errors.PluginError),
        (503, "unavailable", errors.Unavailable),
    ],
)
def test_an_error_becomes_the_exception_of_who_must_act(
    serve: Callable[[str], Any], api: NodeApi, status: int, code: str, kind: type[Exception]
) -> None:
    serve("node").answers["GET", "/x"] = (status, {"error": {"code": code, "message": "because"}})
    with pytest.raises(kind, match=r"^because$") as raised:
        api.get("/x")
    assert type(raised.value) is kind
    if isinstance(raised.value, errors.Refused):
        assert raised.value.code == code


def test_a_plugins_error_names_it_and_keeps_its_exit_code(serve: Callable[[str], Any], api: NodeApi) -> None:
    sent = errors.PluginError("net_linux", "no TUN: load it")
    serve("node").answers["GET", "/x"] = (500, {"error": {"code": "plugin", "message": str(sent)}})
    with pytest.raises(errors.PluginError) as raised:
        api.get("/x")
    assert (str(raised.value), raised.value.plugin, raised.value.exit_code) == (str(sent), "net_linux", 3)


def test_requests_carry_their_json_and_answers_come_back_as_dicts(serve: Callable[[str], Any], api: NodeApi) -> None:
    fake = serve("node")
    fake.answers |= {(method, "/x"): (200, {"did": method}) for method in ("GET", "POST", "PATCH", "DELETE")}
    done = [api.get("/x"), api.post("/x", {"a": 1}), api.patch("/x", {"b": 2}), api.delete("/x")]
    assert [answer["did"] for answer in done] == ["GET", "POST", "PATCH", "DELETE"]
    assert [body for _, _, body in fake.asked] == [None, {"a": 1}, {"b": 2}, None]


def test_an_empty_answer_is_an_empty_object(serve: Callable[[str], Any], api: NodeApi) -> None:
    serve("node").answers["DELETE", "/x"] = (204, b"")
    assert api.delete("/x") == {}


def test_no_daemon_says_how_to_start_one(api: NodeApi, state: Path) -> None:
    with pytest.raises(errors.Unavailable, match="gwctl up"):
        api.get("/v1/status")
    with pytest.raises(errors.Unavailable, match="on the server's machine as root"):
        ServerApi(Folders(state, client=True)).get("/api/v1/server")
    assert api.listener() is None


def test_a_socket_left_by_a_dead_daemon_is_no_daemon(api: NodeApi) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(api.socket_path))
    with pytest.raises(errors.Unavailable, match="not running"):
        api.get("/v1/status")
    assert not api.answers()


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b'"text"'])
def test_an_answer_that_is_no_json_object_is_the_other_sides_fault(
    serve: Callable[[str], Any], api: NodeApi, answer: bytes
) -> None:
    serve("node").answers["GET", "/x"] = (200, answer)
    with pytest.raises(errors.RemoteProtocolError, match="not a JSON object"):
        api.get("/x")


def test_a_connection_that_ends_early_is_unavailable(api: NodeApi) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(api.socket_path))
        listener.listen()
        hang_up = threading.Thread(target=lambda: listener.accept()[0].close())
        hang_up.start()
        with pytest.raises(errors.Unavailable, match="see its log"):
            api.get("/x")
        hang_up.join()


def test_a_daemon_that_does_not_answer_in_time_is_unavailable(api: NodeApi) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(api.socket_path))
        listener.listen()
        with pytest.raises(errors.Unavailable, match=r"\.sock: no answer within"):
            api.request("GET", "/x", timeout=0.05)


def test_a_path_too_long_for_a_socket_is_said(state: Path) -> None:
    with pytest.raises(errors.Unavailable, match="--state"):
        NodeApi(Folders(state / ("x" * 120), client=True)).get("/x")


def test_the_kernel_knows_who_listens(serve: Callable[[str], Any], api: NodeApi) -> None:
    serve("node")
    assert api.listener() == os.getpid()


def test_names_are_one_segment_of_a_path() -> None:
    assert segment("a/b ?") == "a%2Fb%20%3F"
