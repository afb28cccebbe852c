"""A mesh moves from SQLite to PostgreSQL and back, by the programs that operators use."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres

PROGRAMS = Path(sys.executable).parent
CONFIG = '[server]\nlisten = "127.0.0.1:0"\n[plugin.derp]\nstun = "127.0.0.1:0"\n[plugin.storage_sql]\nurl = "{url}"\n'


def gwctl(state: Path, *words: object, code: int = 0) -> str:
    """What gwctl prints, or where it fails its one line."""
    command = [PROGRAMS / "gwctl", "--config", state / "c.toml", "--state", state, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") <= (1 if code else 0), done.stderr
    return done.stderr if code else done.stdout


def users(state: Path) -> list[str]:
    return [user["name"] for user in json.loads(gwctl(state, "users", "list", "--json"))["users"]]


@contextlib.contextmanager
def serving(state: Path, url: str = "") -> Iterator[None]:
    """A server on this database."""
    (state / "c.toml").write_text(CONFIG.format(url=url))
    command = [PROGRAMS / "ghostwire", "--config", state / "c.toml", "--state", state, "server"]
    with (state / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        assert "ready" in process.stdout.readline(), (state / "log").read_text()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.real
def test_a_mesh_moves_to_postgresql_and_back_by_a_backup(tmp_path: Path, url: str) -> None:
    here, there, file = tmp_path / "here", tmp_path / "there", tmp_path / "b"
    here.mkdir(), there.mkdir()
    with serving(here):
        for name in ("ada", "bob"):
            gwctl(here, "users", "create", name)
    assert "password" in gwctl(here, "server", "migrate", "--to", url.replace("admin@", "admin:secret@"), code=2)
    assert url in gwctl(here, "server", "migrate", "--to", url)
    assert "has data in it" in gwctl(here, "server", "migrate", "--to", url, code=8)
    with serving(here, url):
        assert users(here) == ["admin", "ada", "bob"]
        gwctl(here, "users", "create", "eve")
        gwctl(here, "server", "backup", file)
        (there / "c.toml").write_text(CONFIG.format(url=url))
        for words in (("restore", file), ("restore", file, "--force"), ("migrate", "--to", f"sqlite:///{there}/x.db")):
            assert "a server uses it; stop it first" in gwctl(there, "server", *words, code=5)
    (there / "server" / "control.key").unlink(missing_ok=True)
    assert "dropdb" in gwctl(there, "server", "restore", file, "--force", code=8)
    gwctl(there, "server", "restore", file, "--storage", f"sqlite:///{there}/mesh.db")
    with serving(there, f"sqlite:///{there}/mesh.db"):
        assert users(there) == ["admin", "ada", "bob", "eve"]
    assert (there / "server" / "control.key").read_text() == (here / "server" / "control.key").read_text()


@pytest.mark.real
def test_a_mesh_whose_control_key_is_lost_starts_with_a_new_one_where_that_is_wished(
    tmp_path: Path, url: str, shared_cluster: postgres.Cluster
) -> None:
    """The database names the mesh's key, and a server with another does not start: a restore has to forget it."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "b"
    old.mkdir(), new.mkdir()
    with serving(old, url):
        gwctl(old, "server", "backup", file, "--without-keys")
    place = shared_cluster.database()
    (new / "c.toml").write_text(CONFIG.format(url=place))
    command = [PROGRAMS / "gwctl", "--config", new / "c.toml", "--state", new, "server", "restore", "-", "--yes"]
    with file.open() as piped:
        subprocess.run(list(map(str, command)), stdin=piped, capture_output=True, check=True, timeout=90)
    with serving(new, place):
        assert users(new) == ["admin"]


@pytest.mark.lab
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A disk of its own, in a mount namespace of its own; see `FULL` for the story."""
    script = FULL.format(gwctl=PROGRAMS / "gwctl", ghostwire=PROGRAMS / "ghostwire", here=tmp_path)
    (tmp_path / "c.toml").write_text(CONFIG.format(url=""))
    mine = [] if os.geteuid() == 0 else ["-r"]
    done = subprocess.run(["unshare", "-m", *mine, "bash", "-c", script], capture_output=True, text=True, timeout=110)
    said = done.stdout.splitlines()
    full = "ghostwire.db: cannot write: database or disk is full; free some space"
    assert said[:2] == [f"error: {tmp_path}/disk/server/storage_sql/{full}", "refused 5"], (said, done.stderr)
    assert said[2].startswith("error: b: cannot write: No space left on device; make room or give another FILE;")
    assert said[3:] == ["restored from a full disk: 5", "admin before after"], (said, done.stderr)


FULL = """
cd {here}; mkdir disk; mount -t tmpfs -o size=800k tmpfs disk
gwctl() {{ {gwctl} --config c.toml --state disk "$@"; }}
{ghostwire} --config c.toml --state disk server > ready 2> log & server=$!
until grep -q ready ready; do kill -0 $server || exit 1; sleep 0.1; done
gwctl users create before > /dev/null
gwctl server backup good > /dev/null
cat /dev/zero > disk/fill 2> /dev/null
refused=0
for n in 1 2 3 4 5; do gwctl users create "user$n" 2> line || refused=$((refused + 1)); done
cat line; echo "refused $refused"
(cd disk && gwctl() {{ {gwctl} --config ../c.toml --state {here}/disk "$@"; }} && gwctl server backup b 2>&1)
kill -9 $server; wait $server 2> /dev/null
gwctl server restore good --force 2> /dev/null; echo "restored from a full disk: $?"
rm disk/fill
{ghostwire} --config c.toml --state disk server > ready2 2>> log & server=$!
until grep -q ready ready2; do kill -0 $server || exit 1; sleep 0.1; done
gwctl users create after > /dev/null
gwctl users list --json | grep '"name"' | cut -d'"' -f4 | xargs echo
kill $server; wait $server
umount disk
"""
