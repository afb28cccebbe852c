"""`ghostwire server` as a process: what it prints and refuses, how it ends; nodes come over real TCP and TLS."""

import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ghostwire.cli.api_client import ServerApi
from ghostwire.errors import AuthenticationFailed
from ghostwire.folders import Folders
from ghostwire.keys import ControlKey, DiscoKey, MachineKey, NodeKey, PrivateKey, RelayKey
from ghostwire.model import MapChange
from ghostwire.system.sockets import SystemSockets
from ghostwire.uplink.channel import connect
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import (
    PROTOCOL,
    AdmittedKeys,
    Credentials,
    Hello,
    Host,
    Refused,
    RelayHello,
    RelaySiblings,
    RelayWelcome,
    Welcome,
)

GHOSTWIRE = str(Path(sys.executable).with_name("ghostwire"))


@contextlib.contextmanager
def server(state: Path, *options: str, config: Path | None = None, plugin: str = "") -> Iterator[subprocess.Popen[str]]:
    """A server process that is ready; ``ready`` is its line. Its STUN server takes any free port."""
    if config is None:
        config = state / "config.toml"
        config.write_text("")
    config.write_text(config.read_text() + '[plugin.derp]\nstun = "127.0.0.1:0"\n')
    given = ["--config", str(config), "--state", str(state), *(["--plugin", plugin] if plugin else [])]
    command = [GHOSTWIRE, *given, "server", "--listen", "127.0.0.1:0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.ready = process.stdout.readline()
    try:
        assert "ready" in process.ready, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def refused(*words: str) -> tuple[int, str]:
    """Exit code and last line on stderr of a server that does not start."""
    done = subprocess.run([GHOSTWIRE, *words], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def api(state: Path) -> ServerApi:
    return ServerApi(Folders(state, client=True))


def token(state: Path, **order: object) -> JoinToken:
    return JoinToken.parse(api(state).post("/api/v1/preauthkeys", order)["token"])


class Machine:
    """A machine that knows how to join."""

    def __init__(self) -> None:
        self.machine, self.node, self.disco = (PrivateKey.generate() for _ in range(3))

    async def join(self, token: JoinToken, *, control_key: ControlKey | None = None):
        """The server's answer, Welcome or Refused; with Welcome comes the first map."""
        async with self.session(token, control_key=control_key) as (_, answer):
            return answer

    @contextlib.asynccontextmanager
    async def session(self, token: JoinToken, *, control_key: ControlKey | None = None):
        """A session and the server's answer in it."""
        known = control_key or token.control_key
        channel = await connect(token.url, self.machine, known, SystemSockets(), os.urandom)
        try:
            channel.send(
                Hello(
                    protocol=PROTOCOL,
                    node_key=self.node.public(NodeKey),
                    disco_key=self.disco.public(DiscoKey),
                    proof=channel.prove(self.node),
                    host=Host(hostname="machine"),
                    credentials=Credentials(token.scheme, token.secret),
                )
            )
            answer = await channel.receive()
            if isinstance(answer, Welcome):
                assert isinstance(await channel.receive(), MapChange)
            yield channel, answer
        finally:
            await channel.close()


@pytest.mark.parametrize("options", [(), ("--no-tls",)], ids=["tls", "plain"])
async def test_a_machine_joins_and_what_was_acknowledged_survives_kill_9(tmp_path, options):
    machine = Machine()
    with server(tmp_path, *options) as process:
        assert f"gwctl --state {tmp_path} preauthkeys create" in process.ready
        key = token(tmp_path)
        assert key.url.startswith("http://" if options else "https://")
        welcome = await machine.join(key)
        assert welcome.node.name == "machine"
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(tmp_path, *options):
        assert token(tmp_path).control_key == key.control_key
        (node,) = api(tmp_path).get("/api/v1/nodes")["nodes"]
        assert (node["id"], node["addresses"]) == (welcome.node.id, list(welcome.node.addresses))


def relays(state: Path) -> dict[str, dict[str, object]]:
    return {relay["name"]: relay for relay in api(state).get("/api/v1/relays")["relays"]}


def presented(state: Path, port: int) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())


def test_the_servers_own_relay_is_where_the_server_is_and_pinned_by_its_certificate(tmp_path):
    with server(tmp_path) as process:
        port = int(process.ready.split("https://127.0.0.1:")[1].split(";")[0])
        relay = relays(tmp_path)["embedded"]
        assert (relay["host"], relay["port"], relay["tls"]) == ("127.0.0.1", port, True)
        assert relay["certificate"] == presented(tmp_path, port).fingerprint(hashes.SHA256()).hex()
        assert relay["region"] == {"id": 900, "name": "home"}
        pin = token(tmp_path).pin
    config = tmp_path / "ghostwire.toml"
    config.write_text('[server]\nregion = "north"\nlisten = "127.0.0.1:0"\nurl = "https://mesh.example.com:443"\n')
    with server(tmp_path, "--url", "https://mesh.example.com", config=config):
        moved = relays(tmp_path)["embedded"]
        assert (moved["id"], moved["host"], moved["port"]) == (relay["id"], "mesh.example.com", 443)
        assert moved["region"]["name"] == "north"
        assert moved["certificate"] != relay["certificate"], "one that names the new host"
        assert token(tmp_path).pin == pin
    with server(tmp_path, "--url", "http://mesh.example.com", "--no-tls"):
        plain = relays(tmp_path)["embedded"]
        assert (plain["port"], plain["tls"], plain["certificate"]) == (80, False, "")
        assert plain["key"] == relay["key"]


def test_a_given_certificate_that_is_for_another_host_is_warned_of(tmp_path, issue):
    certificate, key = issue("other.example.com")
    config = tmp_path / "ghostwire.toml"
    given = f'certificate = "{certificate}"\ncertificate_key = "{key}"\n'
    config.write_text(f'[server]\nlisten = "127.0.0.1:0"\nurl = "https://mesh.example.com"\n{given}')
    with server(tmp_path, config=config) as process:
        assert relays(tmp_path)["embedded"]["certificate"] == ""
        process.terminate()
        assert "the certificate is not for mesh.example.com: nodes will not" in process.stderr.read()


def test_a_server_without_the_plugin_has_no_relay_of_its_own(tmp_path):
    with server(tmp_path):
        assert list(relays(tmp_path)) == ["embedded"]
    with server(tmp_path, plugin="-derp"):
        assert relays(tmp_path) == {}
        assert api(tmp_path).get("/api/v1/server")["relays"] == 0


def test_the_relays_of_a_derp_map_file_are_the_meshs(tmp_path):
    path = tmp_path / "derp.json"
    node = {"Name": "1a", "RegionID": 1, "HostName": "derp.example.com"}
    path.write_text(json.dumps({"Regions": {"1": {"RegionID": 1, "RegionName": "NYC", "Nodes": [node]}}}))
    config = tmp_path / "ghostwire.toml"
    config.write_text(f'[server]\nderp_map = "{path}"\n')
    with server(tmp_path, config=config):
        deadline = time.monotonic() + 10
        while "1a" not in relays(tmp_path):
            assert time.monotonic() < deadline, "the file was not read"
        assert relays(tmp_path)["1a"]["source"] == "derpmap"
        nodes = api(tmp_path).get("/api/v1/derpmap")["Regions"]["1"]["Nodes"]
        assert nodes == [{**node, "DERPPort": 443, "STUNPort": 3478}]


async def test_a_relay_enrols_over_real_tcp_with_the_token_that_was_made_for_it(tmp_path):
    with server(tmp_path, "--no-tls"):
        order = {"name": "a", "region": "north", "host": "a.example.com"}
        made = JoinToken.parse(api(tmp_path).post("/api/v1/relays", order)["token"])
        assert made.scheme == "relay"
        machine, key = PrivateKey.generate(), PrivateKey.generate()
        for secret in (made.secret, None):
            channel = await connect(made.url, machine, made.control_key, SystemSockets(), os.urandom)
            credentials = Credentials(made.scheme, secret) if secret else None
            proof = channel.prove(key)
            channel.send(RelayHello(protocol=PROTOCOL, key=key.public(RelayKey), proof=proof, credentials=credentials))
            welcome = await channel.receive()
            assert isinstance(welcome, RelayWelcome)
            assert (welcome.relay.name, len(welcome.mesh_key)) == ("a", 32)
            told = {type(await channel.receive()) for _ in range(2)}
            assert told == {AdmittedKeys, RelaySiblings}
            await channel.close()
        assert relays(tmp_path)["a"]["machine_key"] == str(machine.public(MachineKey))


async def test_keys_are_refused_with_their_reason(tmp_path):
    with server(tmp_path, "--no-tls"):
        used = token(tmp_path)
        await Machine().join(used)
        again = await Machine().join(used)
        assert isinstance(again, Refused)
        assert "used by another machine" in again.message
        with pytest.raises(AuthenticationFailed, match="another key than the join token named"):
            await Machine().join(used, control_key=PrivateKey.generate().public(ControlKey))


async def test_who_is_connected_hears_that_the_server_goes(tmp_path):
    with server(tmp_path, "--no-tls") as process:
        async with Machine().session(token(tmp_path)) as (channel, _):
            process.send_signal(signal.SIGTERM)
            goodbye = await channel.receive()
        assert (goodbye.code, goodbye.retry_after) == ("busy", 1)
        assert "shutting down" in goodbye.message


def test_it_ends_cleanly_on_sigterm_and_leaves_private_files_only(tmp_path):
    with server(tmp_path) as process:
        describe = api(tmp_path).get("/api/v1/server")
        assert describe["nodes"] == 0
        assert describe["control_key"].startswith("ctlkey:")
        private = tmp_path / "server"
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        secrets = [path for path in private.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "Traceback" not in out + err
    assert not (tmp_path / "run" / "server.sock").exists()


def test_a_second_server_on_the_same_state_is_refused(tmp_path):
    with server(tmp_path) as process:
        code, line = refused("--state", str(tmp_path), "server", "--listen", "127.0.0.1:0")
    assert code == 5
    assert f"another server (process {process.pid}) uses this state" in line


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = refused("--state", str(tmp_path), "server", "--listen", f"127.0.0.1:{port}")
    assert code == 6
    assert f"port {port}" in line
    assert "in use" in line


@pytest.mark.parametrize(
    "words", [("--listen", "nowhere"), ("--listen", "127.0.0.1:99999"), ("--url", "gopher://x"), ("--listen", "")]
)
def test_words_that_make_no_sense_are_refused_before_anything_happens(tmp_path, words):
    code, line = refused("--state", str(tmp_path / "state"), "server", *words)
    assert code == 2
    assert words[0] in line


def test_a_storage_that_is_not_there_is_one_line(tmp_path):
    config = tmp_path / "ghostwire.toml"
    config.write_text('[server]\nstorage = "papyrus"\n')
    code, line = refused("--config", str(config), "--state", str(tmp_path), "server")
    assert code == 3
    assert "papyrus" in line
