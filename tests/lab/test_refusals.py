"""The real programs in namespaces: what cannot work is refused in one line that says what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Mesh, Node, Server, wait_for

pytestmark = pytest.mark.usefixtures("tun")


@contextlib.contextmanager
def stranger(mesh: Mesh, folder: Path) -> Iterator[Node]:
    """A running node that belongs to no mesh."""
    node = Node(mesh.lab, "eve", folder)
    node.start()
    try:
        yield node
    finally:
        assert node.end() == 0


def test_a_used_up_token_is_refused_with_its_reason(own_mesh: Mesh) -> None:
    token = own_mesh.server.join_token()
    own_mesh["alice"].gwctl("down", "--logout")
    own_mesh["alice"].join(token)
    own_mesh["eve"].start()
    assert "used" in own_mesh["eve"].join(token, fails=8)


def test_an_expired_or_revoked_token_is_refused_with_its_reason(mesh: Mesh, tmp_path: Path) -> None:
    with stranger(mesh, tmp_path) as node:
        token = mesh.server.join_token("ada", "--ttl", "1s")
        wait_for("a second passes", lambda: "expired" in mesh.server.gwctl("preauthkeys", "list"))
        assert "expired" in node.join(token, fails=8)


def test_a_token_that_is_none_is_refused_in_one_line(mesh: Mesh, tmp_path: Path) -> None:
    with stranger(mesh, tmp_path) as node:
        assert "token" in node.join("gwjoin-AAAA", fails=2)
        assert "token" in node.join("hello", fails=2)


def test_a_token_of_another_server_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    """The other server has the same address in its tokens, but another control key."""
    other = Server(mesh.lab, "control", tmp_path, port=8081, url=mesh.server.url)
    other.start()
    try:
        other.user("mallory")
        with stranger(mesh, tmp_path) as node:
            line = node.join(other.join_token("mallory"), fails=8)
        assert "another key than the join token named" in line
    finally:
        assert other.end() == 0


def test_a_second_server_on_the_same_state_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    second = Server(mesh.lab, "control", tmp_path, port=8082)
    second.state = mesh.server.state
    code, line = second.fails()
    assert code == 5
    assert str(mesh.server.state) in line
    assert mesh.server.api.get("/api/v1/server")["url"] == mesh.server.url


def test_a_port_in_use_is_said(mesh: Mesh, tmp_path: Path) -> None:
    code, line = Server(mesh.lab, "control", tmp_path).fails()
    assert code == 6
    assert "8080" in line
    assert "in use" in line


def test_a_second_node_on_the_same_state_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    second = Node(mesh.lab, "alice", tmp_path)
    second.state = mesh["alice"].state
    code, line = second.fails()
    assert code == 5
    assert "already running" in line
    assert mesh["alice"].status()["state"] == "running"


def test_without_the_right_to_make_interfaces_the_node_says_so(mesh: Mesh, tmp_path: Path) -> None:
    node = Node(mesh.lab, "eve", tmp_path)
    node.spawn(["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"])
    node.ready()
    assert "root" in node.join(mesh.server.join_token(), fails=4)
    assert node.end() == 0


@pytest.mark.parametrize("kind", [Server, Node])
def test_a_read_only_state_folder_is_said(mesh: Mesh, tmp_path: Path, kind: type[Server] | type[Node]) -> None:
    daemon = kind(mesh.lab, "control", tmp_path)
    daemon.state.mkdir()
    mount = f'mount -t tmpfs -o ro,mode=755 tmpfs {daemon.state} && exec "$@"'
    code, line = daemon.fails(["unshare", "-m", "sh", "-c", mount, "sh"])
    assert code == 5
    assert str(daemon.state) in line


def test_a_state_of_a_newer_version_is_refused_and_left_alone(mesh: Mesh, tmp_path: Path) -> None:
    server = Server(mesh.lab, "control", tmp_path, port=8083)
    server.start()
    assert server.end() == 0
    database = next(server.state.rglob("ghostwire.db"))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    connection.close()
    code, line = server.fails()
    assert code == 5
    assert "newer" in line


@pytest.mark.parametrize("kind", [Server, Node])
def test_an_unknown_setting_is_named_with_its_line(mesh: Mesh, tmp_path: Path, kind: type[Server] | type[Node]) -> None:
    daemon = kind(mesh.lab, "control", tmp_path)
    daemon.config.write_text('[server]\n\nlisten_on = "0.0.0.0:1"\n')
    code, line = daemon.fails()
    assert code == 2
    assert f"{daemon.config}:3:" in line
    assert "listen_on" in line
