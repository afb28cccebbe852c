"""`gwctl server` describes; its commands refuse in one line what cannot be carried out, before anything is touched."""

import pytest

from ghostwire.cli.gwctl_server import server
from ghostwire.cli.options import storage_url
from ghostwire.errors import UsageError


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


def test_a_file_that_is_no_backup_is_refused_before_anything_is_made(run, state):
    (state / "b").write_text("no backup")
    result = run(server, "restore", str(state / "b"), "--force", "--yes")
    assert (result.exit_code, "not a backup of GhostWire" in result.stderr) == (5, True)
    assert not (state / "server").exists()


@pytest.mark.parametrize(
    "url", ["postgresql://me:word@host/db", "postgresql://host/db?password=word", "postgresql://me:@host/db"]
)
def test_a_password_in_a_url_is_refused_without_repeating_it(url):
    with pytest.raises(UsageError) as caught:
        storage_url(url)
    assert "pgpass" in str(caught.value)
    assert "word@" not in str(caught.value)
    assert storage_url("postgresql://me@host/db?sslmode=require") == "postgresql://me@host/db?sslmode=require"
