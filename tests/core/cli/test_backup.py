"""`gwctl server` describes; its commands refuse in one line what cannot be carried out, before anything is touched."""

import os
from pathlib import Path

import pytest

from ghostwire.cli.gwctl_server import _contents, server
from ghostwire.cli.gwctl_server_backup import fetch, named
from ghostwire.cli.options import storage_url
from ghostwire.errors import StateError, UsageError


def test_without_a_server_a_backup_says_so_and_leaves_no_file(run, state):
    result = run(server, "backup", str(state / "b"))
    assert result.exit_code == 7
    assert "no server runs here" in result.stderr
    assert [path.name for path in state.iterdir()] == ["run"]


def test_alone_it_is_the_same_as_its_status(run):
    assert run(server).stderr == run(server, "status").stderr != ""


def test_a_file_that_is_there_is_not_overwritten_unasked(run, state):
    (state / "b").write_text("precious")
    result = run(server, "backup", str(state / "b"))
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert (state / "b").read_text() == "precious"


def test_what_is_no_plain_file_is_never_replaced_by_one(run, state, tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    for place in (pipe, link, "/dev/null"):
        result = run(server, "backup", str(place), "--yes")
        assert result.exit_code == 2
        assert "no plain file" in result.stderr
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_a_file_that_is_no_backup_is_refused_before_anything_is_made(run, state):
    (state / "b").write_text("no backup")
    result = run(server, "restore", str(state / "b"), "--force", "--yes")
    assert (result.exit_code, "not a backup of GhostWire" in result.stderr) == (5, True)
    assert not (state / "server").exists()


def test_what_ends_in_a_slash_is_a_folder_that_is_made(tmp_path):
    (tmp_path / "file").touch()
    made = named(f"{tmp_path}/new/backups/")
    assert made.parent == tmp_path / "new" / "backups"
    assert made.parent.stat().st_mode & 0o777 == 0o700
    assert named(f"{tmp_path}/new/backups").parent == made.parent, "a folder that is there needs no slash"
    assert named(f"{tmp_path}/other") == tmp_path / "other"
    assert not (tmp_path / "other").exists()
    with pytest.raises(StateError, match="cannot write"):
        named(f"{tmp_path}/file/below/")
    assert named("").parent == Path()


def test_an_empty_database_is_not_moved(run, state):
    """Another state folder than was meant is no mesh without nodes."""
    result = run(server, "migrate", "--to", f"sqlite:///{state}/there.db")
    assert (result.exit_code, "--state, or --from URL" in result.stderr) == (5, True)
    assert not (state / "there.db").exists()


def test_a_backup_is_read_from_standard_input(run, state):
    result = run(server, "restore", "-", "--yes", input="no backup")
    assert result.exit_code == 5
    assert result.stderr.startswith("error: standard input: not a backup of GhostWire, or damaged; ")


@pytest.mark.parametrize(
    "url", ["postgresql://me:word@host/db", "postgresql://host/db?password=word", "postgresql://me:@host/db"]
)
def test_a_password_in_a_url_is_refused_without_repeating_it(url):
    with pytest.raises(UsageError) as caught:
        storage_url(url)
    assert "pgpass" in str(caught.value)
    assert "word@" not in str(caught.value)
    assert storage_url("postgresql://me@host/db?sslmode=require") == "postgresql://me@host/db?sslmode=require"


def test_a_folder_that_is_missing_is_said_with_how_it_is_made(tmp_path):
    with pytest.raises(StateError, match=r"there is no folder .*; make it, or give FOLDER/, which is made"):
        fetch(None, tmp_path / "absent" / "b", True)


def test_kinds_are_called_as_people_call_them():
    counted = {"user": 2, "pre_auth_key": 1, "api_key": 6, "released_address": 3}
    assert _contents(counted) == "2 users, 1 pre-auth key, 6 API keys, 3 released addresses"


def test_what_is_refused_leaves_no_folder(run, state):
    place = f"sqlite:///{state}/there.db"
    assert run(server, "migrate", "--to", place).exit_code == 5
    assert run(server, "migrate", "--from", place, "--to", f"sqlite:///{state}/other.db").exit_code == 5
    assert [path.name for path in state.iterdir()] == ["run"]
