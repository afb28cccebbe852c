"""The policy of a `ghostwire server` process: who wrote it, that it outlives a crash, when starting is refused."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ghostwire.cli.api_client import ServerApi
from ghostwire.folders import Folders

GHOSTWIRE = str(Path(sys.executable).with_name("ghostwire"))
PATH = "/api/v1/policy"
POLICY = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:22"]}]}\n'
RIVAL = """
from ghostwire import CompiledPolicy, PolicyEngine, Provider, hookimpl

class Rival(PolicyEngine):
    name = "rival"

    def compile(self, source):
        return CompiledPolicy()

@hookimpl
def ghostwire_policies():
    yield Provider("rival", lambda context: Rival())
"""


def command(state: Path, *plugins: str) -> list[str]:
    """A server's command line; its STUN server takes any free port."""
    config = state / "config.toml"
    trust = "".join(f"[plugin.{plugin}]\ntrusted = true\n" for plugin in plugins if not plugin.startswith("-"))
    config.write_text(f'[plugin.derp]\nstun = "127.0.0.1:0"\n{trust}')
    named = [word for plugin in plugins for word in ("--plugin", plugin)]
    listen = ["server", "--no-tls", "--listen", "127.0.0.1:0"]
    return [GHOSTWIRE, "--config", str(config), "--state", str(state), *named, *listen]


@contextlib.contextmanager
def server(state: Path) -> Iterator[subprocess.Popen[str]]:
    """A server process that is ready."""
    process = subprocess.Popen(command(state), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = process.stdout.readline()
    try:
        assert "ready" in ready, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def refused(state: Path, *plugins: str) -> tuple[int, str]:
    """Exit code and last line on stderr of a server that does not start."""
    done = subprocess.run(command(state, *plugins), capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_policy_has_the_name_of_who_set_it_and_outlives_kill_9(tmp_path):
    api = ServerApi(Folders(tmp_path, client=True))
    with server(tmp_path) as process:
        assert api.get(PATH)["version"] == 0
        stored = api.put(PATH, {"source": POLICY}, headers={"If-Match": '"0"'})
        assert (stored["version"], stored["author"]) == (1, pwd.getpwuid(os.geteuid()).pw_name)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(tmp_path):
        assert api.get(PATH) == stored
        assert api.get("/api/v1/server")["policy"]["version"] == 1
    code, line = refused(tmp_path, "-policy_acl")
    assert code == 3
    assert line.startswith("error: version 1 of the policy is stored here for the engine 'acl', which is not selected")


def test_two_policy_engines_are_an_error_that_names_both(tmp_path, install):
    install("rival", RIVAL)
    code, line = refused(tmp_path, "rival")
    assert (code, line) == (
        3,
        "error: one policy engine can be at work, 'acl' of policy_acl and 'rival' of rival are selected; "
        "leave all others out",
    )
