"""The whole API of a running server, fuzzed from the document that it gives of itself, over TCP and by an API key."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostwire.cli.api_client import ServerApi
from ghostwire.folders import Folders
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.system.sockets import SystemSockets
from ghostwire.uplink.channel import connect
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import PROTOCOL, Credentials, Hello, Host, Welcome

PROGRAMS = Path(sys.executable).parent
CONFIG = """
[server]
tls = false
[plugin.derp]
stun = "127.0.0.1:0"
"""
OTHERS = 40
"""Keys before the one that is fuzzed by, so that fuzzing does not guess its id and delete it."""


@contextlib.contextmanager
def serving(state: Path) -> Iterator[str]:
    """Where a server listens."""
    (state / "config.toml").write_text(CONFIG)
    given = ["--config", str(state / "config.toml"), "--state", str(state)]
    command = [str(PROGRAMS / "ghostwire"), *given, "server", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=(state / "log").open("w"), text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert "ready at " in ready, (state / "log").read_text()
        yield ready.partition("ready at ")[2].partition(";")[0]
    finally:
        process.kill()
        process.communicate()


async def join(token: JoinToken, name: str) -> None:
    """A machine joins, and goes."""
    node = PrivateKey.generate()
    channel = await connect(token.url, PrivateKey.generate(), token.control_key, SystemSockets(), os.urandom)
    try:
        channel.send(
            Hello(
                protocol=PROTOCOL,
                node_key=node.public(NodeKey),
                disco_key=PrivateKey.generate().public(DiscoKey),
                proof=channel.prove(node),
                host=Host(hostname=name),
                credentials=Credentials(token.scheme, token.secret),
            )
        )
        assert isinstance(await channel.receive(), Welcome)
    finally:
        await channel.close()


def asked(url: str, key: str) -> dict[str, object]:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})) as answer:
        found: dict[str, object] = json.load(answer)
        return found


@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing_in_the_whole_api(tmp_path):
    with serving(tmp_path) as url:
        api = ServerApi(Folders(tmp_path, client=True))
        token = JoinToken.parse(api.post("/api/v1/preauthkeys", {"reusable": True})["token"])
        for number in range(3):
            asyncio.run(join(token, f"machine{number}"))
        for number in range(OTHERS):
            api.post("/api/v1/apikeys", {"name": f"other{number}"})
        key = api.post("/api/v1/apikeys", {"name": "fuzz"})["secret"]
        command = [str(PROGRAMS / "schemathesis"), "run", f"{url}/api/v1/openapi.json", "--no-color"]
        command += ["--max-examples", "10", "--continue-on-failure", "--seed", "7", "--max-redirects", "0"]
        hooks = {"SCHEMATHESIS_HOOKS": "policies_for_fuzzing", "PYTHONPATH": str(Path(__file__).parent)}
        (tmp_path / "fuzz").mkdir()
        (tmp_path / "schemathesis.toml").write_text(f'headers = {{ Authorization = "Bearer {key}" }}\n')
        done = subprocess.run(
            [command[0], "--config-file", str(tmp_path / "schemathesis.toml"), *command[1:]],
            cwd=tmp_path / "fuzz",
            env={**os.environ, **hooks},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        assert "Traceback" not in (tmp_path / "log").read_text()
        document = asked(f"{url}/api/v1/openapi.json", key)
        total = sum(map(len, document["paths"].values())) - 1  # the document's own is where it was read
        assert f"Tested: {total}" in done.stdout, done.stdout[-3000:]
