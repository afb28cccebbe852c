"""Where state and sockets live, and who may enter."""

import os

import pytest

from ghostwire import folders
from ghostwire.errors import StateError
from ghostwire.folders import Folders


def mode(path):
    return path.stat().st_mode & 0o777


def test_state_folders_are_made_for_their_user_alone_and_sockets_folder_for_all(tmp_path):
    here = Folders(tmp_path / "deep" / "state")
    for folder in (here.server, here.node, here.relay):
        assert mode(folder) == 0o700
    assert mode(here.run) == 0o755
    assert here.server == tmp_path / "deep" / "state" / "server"


def test_the_umask_neither_opens_nor_closes_them(tmp_path):
    before = os.umask(0o077)
    try:
        assert mode(Folders(tmp_path / "a").run) == 0o755
        os.umask(0)
        assert mode(Folders(tmp_path / "b").node) == 0o700
    finally:
        os.umask(before)


def test_a_state_folder_that_others_may_enter_is_closed(tmp_path):
    (tmp_path / "node").mkdir(mode=0o755)
    assert mode(Folders(tmp_path).node) == 0o700


def test_sockets_are_in_the_sockets_folder(tmp_path):
    here = Folders(tmp_path)
    assert here.server_socket == tmp_path / "run" / "server.sock"
    assert here.node_socket == tmp_path / "run" / "node.sock"
    assert (tmp_path / "run").is_dir()


def test_root_has_the_systems_folders(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    here = Folders(client=True)
    assert str(here.state) == "/var/lib/ghostwire"
    assert str(here.node_socket) == "/run/ghostwire/node.sock"


def test_others_have_their_own_by_xdg(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    here = Folders()
    assert here.node == tmp_path / "state" / "ghostwire" / "node"
    assert here.node_socket == tmp_path / "runtime" / "ghostwire" / "node.sock"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folders().node_socket == tmp_path / ".local" / "state" / "ghostwire" / "run" / "node.sock"


def test_a_client_makes_no_folder(tmp_path):
    assert Folders(tmp_path / "state", client=True).node_socket == tmp_path / "state" / "run" / "node.sock"
    assert not (tmp_path / "state").exists()


def test_a_users_client_finds_the_systems_socket_where_he_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(folders, "SYSTEM_RUN", tmp_path / "system")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "own"))
    own, system = tmp_path / "own" / "ghostwire" / "node.sock", tmp_path / "system" / "node.sock"
    assert Folders(client=True).node_socket == own
    system.parent.mkdir()
    system.touch()
    assert Folders(client=True).node_socket == system
    assert Folders(tmp_path / "given", client=True).node_socket == tmp_path / "given" / "run" / "node.sock"
    own.parent.mkdir(parents=True)
    own.touch()
    assert Folders(client=True).node_socket == own


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "server").touch()
    with pytest.raises(StateError, match="is not a folder; move it away or pass --state DIR"):
        _ = Folders(tmp_path).server


def test_a_folder_that_cannot_be_made_is_said():
    with pytest.raises(StateError, match=r"/proc/ghostwire: cannot make this folder: .*pass --state DIR"):
        _ = Folders(folders.Path("/proc/ghostwire")).server
