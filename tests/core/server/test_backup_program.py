"""Backups of real servers: taken while nodes join, put back after the machine was lost; and what nodes see of that."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Cursor, MapChange
from ghostwire.system.sockets import SystemSockets
from ghostwire.uplink.channel import connect
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import PROTOCOL, Credentials, Hello, Host, Refused, Welcome

from .test_program import api, server, token

GWCTL = str(Path(sys.executable).with_name("gwctl"))
GHOSTWIRE = str(Path(sys.executable).with_name("ghostwire"))


def gwctl(state: Path, *words: object, code: int = 0) -> str:
    """What gwctl prints, or where it fails its line on stderr."""
    config = state / "config.toml"
    given = [GWCTL, *(["--config", str(config)] if config.exists() else []), "--state", str(state), *map(str, words)]
    done = subprocess.run(given, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


class Machine:
    """A machine that joins by a token and comes back by its keys, from where its map ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.machine, self.node, self.disco = (PrivateKey.generate() for _ in range(3))
        self.cursor: Cursor | None = None
        self.change: MapChange

    async def hello(self, url: str, key: ControlKey, credentials: Credentials | None = None) -> Welcome | Refused:
        channel = await connect(url, self.machine, key, SystemSockets(), os.urandom)
        async with contextlib.aclosing(Closing(channel)):
            channel.send(
                Hello(
                    protocol=PROTOCOL,
                    node_key=self.node.public(NodeKey),
                    disco_key=self.disco.public(DiscoKey),
                    proof=channel.prove(self.node),
                    host=Host(hostname=self.name),
                    cursor=self.cursor,
                    credentials=credentials,
                )
            )
            answer = await channel.receive()
            if isinstance(answer, Welcome):
                self.change = await channel.receive()
                self.cursor = self.change.cursor
            return answer

    async def join(self, given: JoinToken) -> Welcome:
        answer = await self.hello(given.url, given.control_key, Credentials(given.scheme, given.secret))
        assert isinstance(answer, Welcome), answer
        return answer


class Closing:
    def __init__(self, channel) -> None:
        self.aclose = channel.close


def url_of(process) -> str:
    return process.ready.split("ready at ")[1].split(";")[0]


async def test_a_lost_server_comes_back_from_its_backup_and_nodes_notice(tmp_path):
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup.jsonl.gz"
    old.mkdir(), new.mkdir()
    early, late, other = Machine("early"), Machine("late"), Machine("other")
    with server(old):
        before = await early.join(token(old))
        assert json.loads(gwctl(old, "server", "backup", file, "--json"))["records"]["node"] == 1
        assert file.stat().st_mode & 0o777 == 0o600
        after = await late.join(token(old))
        key = token(old).control_key
    shutil.rmtree(old)
    shutil.copy(tmp_path / "backup.jsonl.gz", new)
    assert "1 node" in gwctl(new, "server", "restore", new / file.name)
    with server(new) as process:
        assert token(new).control_key == key
        welcome = await early.hello(url_of(process), key)
        assert isinstance(welcome, Welcome), welcome
        assert welcome.node.addresses == before.node.addresses
        assert early.change.full, "its map goes on from another history"
        (held,) = early.change.nodes
        assert held.name == "early"
        refused = await late.hello(url_of(process), key)
        assert (type(refused), refused.code) == (Refused, "login-required")
        given = await other.join(token(new))
        assert given.node.id > after.node.id, "an id that was given out after the backup is not given out again"
        assert given.node.addresses != after.node.addresses
        again = await late.join(token(new))
        assert len({before.node.id, given.node.id, again.node.id}) == 3
        resumed = await early.hello(url_of(process), key)
        assert isinstance(resumed, Welcome)
        assert not early.change.full, "from then on it resumes"
    again = gwctl(new, "server", "restore", new / file.name, code=8)
    assert "has data in it" in again
    assert len(gwctl(new, "server", "restore", new / file.name, "--force").split(".aside")) == 2
    assert "no such file" in gwctl(new, "server", "restore", new / "absent", code=5)


async def test_backups_under_writes_hold_both_of_a_pair_or_none(tmp_path):
    """An enrolled node and the address that it took are written together; so are a deleted one and the address that
    rests."""
    with server(tmp_path) as process:
        given = token(tmp_path, reusable=True)
        ended = threading.Event()
        files = [tmp_path / f"{number}.jsonl.gz" for number in range(6)]

        def back_up() -> None:
            for file in files:
                gwctl(tmp_path, "server", "backup", file)
            ended.set()

        thread = threading.Thread(target=back_up)
        thread.start()
        joined = 0
        while not ended.is_set():
            machine = Machine(f"m{joined}")
            welcome = await machine.join(given)
            joined += 1
            if joined % 3 == 0:
                api(tmp_path).delete(f"/api/v1/nodes/{welcome.node.id}")
        thread.join()
        assert process.poll() is None
    assert joined >= 3
    revisions = []
    for file in files:
        lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        held = {tag: [value for of, value in lines if of == tag] for tag in ("node", "released_address", "setting")}
        _, head, tail = next(v["value"] for v in held["setting"] if v["name"] == "addresses").split(",")
        (reusable,) = [value for of, value in lines if of == "pre_auth_key"]
        known = len(held["node"]) + len(held["released_address"])
        assert reusable.get("uses", 0) == known, "each join counts a use of the key and makes a node, at once"
        assert int(tail) - int(head) == len(held["released_address"])
        assert sum(1 for v in held["node"]) == len({v["addresses"][0] for v in held["node"]})
        revisions.append(lines[0][1]["revision"])
    assert revisions == sorted(revisions)


async def test_without_keys_the_server_gets_new_ones_only_when_that_is_wished(tmp_path):
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "b"
    old.mkdir(), new.mkdir()
    machine = Machine("m")
    with server(old):
        await machine.join(token(old))
        key = token(old).control_key
        gwctl(old, "server", "backup", file, "--without-keys")
    text = gzip.decompress(file.read_bytes()).decode()
    for name in ("control.key", "relay.key", "tls.key"):
        assert (old / "server" / name).read_text().splitlines()[-2:][0] not in text
    assert "relay-mesh-key" not in text
    line = gwctl(new, "server", "restore", file, code=2)
    assert "every node, which trusts the old one alone, must join again" in line
    assert not (new / "server" / "control.key").exists()
    gwctl(new, "server", "restore", file, "--yes")
    with server(new):
        assert token(new).control_key != key
        assert len(api(new).get("/api/v1/nodes")["nodes"]) == 1
    shutil.copy(old / "server" / "control.key", tmp_path / "control.key")
    shutil.rmtree(new / "server")
    (new / "server").mkdir()
    shutil.copy(tmp_path / "control.key", new / "server" / "control.key")
    gwctl(new, "server", "restore", file)
    with server(new) as process:
        assert isinstance(await machine.hello(url_of(process), key), Welcome)


async def test_a_database_moves_to_another_file_and_a_second_time_does_no_harm(tmp_path):
    machine, place = Machine("m"), tmp_path / "elsewhere.db"
    with server(tmp_path) as process:
        await machine.join(token(tmp_path))
        key = token(tmp_path).control_key
        assert f"process {process.pid}" in gwctl(tmp_path, "server", "migrate", "--to", f"sqlite:///{place}", code=5)
    gwctl(tmp_path, "server", "migrate", "--to", f"sqlite:///{place}")
    assert "has data in it" in gwctl(tmp_path, "server", "migrate", "--to", f"sqlite:///{place}", code=8)
    config = tmp_path / "config.toml"
    config.write_text(f'[plugin.storage_sql]\nurl = "sqlite:///{place}"\n')
    with server(tmp_path, config=config) as process:
        assert isinstance(await machine.hello(url_of(process), key), Welcome)
        assert machine.change.full


@pytest.mark.parametrize("limit", [0, 512])
def test_a_full_disk_leaves_no_half_backup_and_the_one_that_was_there(tmp_path, limit):
    with server(tmp_path):
        file = tmp_path / "b"
        gwctl(tmp_path, "server", "backup", file)
        held = file.read_bytes()
        for number in range(50):
            api(tmp_path).post("/api/v1/users", {"name": f"user-{number}-{os.urandom(8).hex()}"})
        command = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        command += "import sys; from ghostwire.cli.main import gwctl; sys.exit(gwctl(sys.argv[1:]))"
        words = ["--state", tmp_path, "server", "backup", file, "--yes"]
        done = subprocess.run([sys.executable, "-c", command, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 5
        assert "cannot write" in done.stderr
        assert "there is no backup" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert file.read_bytes() == held
        assert not list(tmp_path.glob(".b*"))
        with open("/dev/full", "wb") as full:
            words = [GWCTL, "--state", str(tmp_path), "server", "backup", "-"]
            done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert (done.returncode, done.stderr.count("\n")) == (5, 1)


def test_a_database_is_not_moved_onto_itself(tmp_path):
    with server(tmp_path):
        pass
    place = tmp_path / "server" / "storage_sql" / "ghostwire.db"
    for force in ((), ("--force",)):
        said = gwctl(tmp_path, "server", "migrate", "--to", f"sqlite:///{place}", *force, code=8)
        assert f"{place}: is the same database as the one to copy" in said
    assert not list(place.parent.glob("*.aside"))


def test_a_server_whose_database_is_lost_says_so_once(tmp_path):
    def said() -> str:
        with server(tmp_path) as process:
            process.terminate()
            return process.communicate(timeout=60)[1]

    lost = "control.key was here before: a new mesh begins"
    assert lost not in said()
    for path in (tmp_path / "server" / "storage_sql").iterdir():
        os.truncate(path, 0)
    warned = said()
    assert warned.count(lost) == 1
    assert "gwctl server restore FILE --force" in warned
    assert lost not in said()
