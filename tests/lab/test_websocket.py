"""A third party's transport where only HTTPS to one host passes: both nodes talk through a plain nginx there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from natlab import Lab
from netns import in_netns, sh
from programs import CROWDED, Mesh, Node, Server, transfer, wait_for

from ghostwire.frontdoor.certificate import ensure_certificate

EXAMPLE = Path(__file__).parents[2] / "examples" / "ghostwire-websocket"
FRONT, BOB = "10.50.0.21", "10.50.0.22"
ONLY_HTTPS = f"""
table inet only {{
  chain out {{ type filter hook output priority 0; policy accept
    oifname "eth0" meta l4proto udp drop
    oifname "eth0" tcp flags & (syn | ack) == syn ip daddr != {FRONT} drop
    oifname "eth0" tcp flags & (syn | ack) == syn tcp dport != 443 drop
  }}
  chain in {{ type filter hook input priority 0; policy accept
    iifname "eth0" meta l4proto udp drop
  }}
}}
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {front}:443 ssl;
    ssl_certificate {folder}/tls.crt;
    ssl_certificate_key {folder}/tls.key;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $http_connection;
    proxy_buffering off;
    location /ghostwire/bob {{ proxy_pass http://{bob}:8642; }}
    location / {{ proxy_pass https://10.50.0.1:8080; proxy_ssl_verify off; }}
  }}
}}
"""
pytestmark = [
    pytest.mark.usefixtures("tun"),
    pytest.mark.skipif(not shutil.which("nginx"), reason="needs the program nginx: apt-get install nginx-light"),
]


class Front:
    """nginx in the member ``front``: the mesh's server behind ``/``, bob's transport behind ``/ghostwire/bob``."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab, self._config = lab, folder / "nginx.conf"
        certificate, _ = ensure_certificate(folder, [FRONT], int(time.time()))
        self.certificate = certificate.read_text()
        self._config.write_text(NGINX.format(folder=folder, front=FRONT, bob=BOB))
        self._process = self._start()

    def restart(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        words = ["nginx", "-e", str(self._config.with_name("error.log")), "-c", str(self._config)]
        return self._lab.popen("front", words, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution as pip installs it, in a folder of its own."""
    folder, copy = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, copy)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True)
    return folder


@dataclass
class Scene:
    """alice, who can only dial, and bob, whom the proxy finds; neither has UDP, nor a relay."""

    mesh: Mesh
    front: Front
    isolated: bool


@pytest.fixture(params=["isolated", "trusted"])
def scene(
    request: pytest.FixtureRequest,
    installed: Path,
    make_lab: Callable[[], Lab],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    """The two nodes, with the transport in a process of its own or in theirs."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    lab = make_lab()
    lab.host("front", FRONT)
    lab.host("bob", BOB)
    lab.site("a", "udp_blocked")
    mesh = Mesh(lab, tmp_path, "a1", "bob")
    for member in ("a1", "bob"):
        with in_netns(lab.ns(member)):
            sh(["nft", "-f", "-"], ONLY_HTTPS)
    front = Front(lab, tmp_path)
    mesh.server = Server(lab, "control", tmp_path, url=f"https://{FRONT}:443")
    settings = f"authorities = '''{front.certificate}'''\n"
    if request.param == "trusted":
        settings += "trusted = true\n"
    bob = f'listen = "{BOB}:8642"\nurl = "wss://{FRONT}/ghostwire/bob"\n'
    for name, more in (("a1", ""), ("bob", bob)):
        mesh[name].config.write_text(f'plugins = ["-derp", "websocket"]\n[plugin.websocket]\n{settings}{more}')
    mesh.start("a1", "bob")
    return Scene(mesh, front, request.param == "isolated")


def over_websocket(here: Node, there: Node) -> bool:
    """A ping is answered, and then the path is the transport's."""
    path = here.can_ping(there.address()) and here.peer(there.member)["path"]
    return bool(path) and (path["transport"], path["relayed"]) == ("websocket", False)


def test_where_only_https_passes_two_nodes_talk_through_a_plain_reverse_proxy(scene: Scene) -> None:
    alice, bob = scene.mesh["a1"], scene.mesh["bob"]
    try:
        wait_for("alice reaches bob", lambda: over_websocket(alice, bob), CROWDED)
        wait_for("bob reaches alice", lambda: over_websocket(bob, alice))
        for here, there in ((alice, bob), (bob, alice)):
            answer = json.loads(here.gwctl("ping", there.member, "-c", "3", "-i", "0.1", "--json"))
            assert answer["received"] == 3
            sent = os.urandom(2 << 20)
            assert transfer(here, there, sent) == sent
        shown = next(each for each in alice.status()["transports"] if each["name"] == "websocket")
        assert (shown["state"], shown["isolated"]) == ("running", scene.isolated)
        scene.front.restart()
        wait_for("the proxy's restart is survived", lambda: over_websocket(bob, alice), CROWDED)
        sent = os.urandom(1 << 20)
        assert transfer(alice, bob, sent) == sent
    except AssertionError as error:
        error.add_note(f"{alice.text()[-3000:]}\n{bob.text()[-3000:]}")
        raise
