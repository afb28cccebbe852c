"""GhostWire's own programs in the lab's members, and gwctl run on them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from natlab import Lab
from netns import in_netns

from ghostwire.cli.api_client import Api, NodeApi, ServerApi
from ghostwire.folders import Folders
from ghostwire.frontdoor.certificate import fingerprint
from ghostwire.keys import load_private_key

PATIENCE = 20.0
CROWDED = 60.0
_RUN = "import sys; from ghostwire.cli.main import {0}; sys.exit({0}())"
_GHOSTWIRE = [sys.executable, "-c", _RUN.format("ghostwire")]
_GWCTL = [sys.executable, "-c", _RUN.format("gwctl")]


def wait_for(what: str, happened: Callable[[], object], patience: float = PATIENCE) -> None:
    """Look until it happened; an AssertionError names what did not."""
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.02)


def gwctl_words(state: Path, *words: str) -> list[str]:
    """The command line of gwctl for the programs with this state folder."""
    return [*_GWCTL, "--state", str(state), *words]


class Daemon:
    """A program in a member: its state folder, settings, log and process."""

    command = ""

    def __init__(self, lab: Lab, member: str, folder: Path, settings: str = "") -> None:
        self.lab, self.member, self.state = lab, member, folder / member
        self.log = folder / f"{member}.log"
        self.config = folder / f"{member}.toml"
        self.config.write_text(settings)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def api(self) -> Api:
        raise NotImplementedError

    def words(self) -> list[str]:
        return [*_GHOSTWIRE, "--config", str(self.config), "--state", str(self.state), self.command]

    def spawn(self, wrapper: Sequence[str] = ()) -> None:
        with self.log.open("ab") as log:
            words = [*wrapper, *self.words()]
            self.process = self.lab.popen(self.member, words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self) -> None:
        self.spawn()
        self.ready()

    def ready(self) -> None:
        wait_for(f"{self.member} answers", self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.member} ended: {self.text()}"
        return self.api.answers()

    def fails(self, wrapper: Sequence[str] = ()) -> tuple[int, str]:
        """Start it where it must not start; its exit code and its last line."""
        self.spawn(wrapper)
        assert self.process is not None
        code = self.process.wait(PATIENCE)
        return code, self.text().splitlines()[-1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def gwctl(self, *words: str, stdin: str = "", fails: int = 0) -> str:
        """Run gwctl; what it printed, or its error line where it has to fail with that code."""
        options: dict[str, Any] = {"text": True, "capture_output": True, "input": stdin, "timeout": 60}
        done = subprocess.run(gwctl_words(self.state, *words), **options)
        assert done.returncode == fails, (words, done.returncode, done.stdout, done.stderr, self.text()[-2000:])
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1] if fails else done.stdout


class Server(Daemon):
    """``ghostwire server`` in a member with a public address."""

    command = "server"

    def __init__(
        self,
        lab: Lab,
        member: str,
        folder: Path,
        *,
        port: int = 8080,
        host: str = "",
        url: str = "",
        more: str = "",
    ) -> None:
        self.url = url or f"https://{host or lab.addresses[member]}:{port}"
        super().__init__(lab, member, folder, f'[server]\nlisten = "0.0.0.0:{port}"\nurl = "{self.url}"\n{more}')

    @property
    def api(self) -> ServerApi:
        return ServerApi(Folders(self.state))

    def user(self, name: str) -> None:
        self.gwctl("users", "create", name)

    def join_token(self, user: str = "ada", *options: str) -> str:
        made = json.loads(self.gwctl("preauthkeys", "create", "--user", user, *options, "--json"))
        return str(made["token"])

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.api.get("/api/v1/nodes")["nodes"]}


class Node(Daemon):
    """``ghostwire client`` in a member; the mesh's name for it is the member's."""

    command = "client"

    @property
    def api(self) -> NodeApi:
        return NodeApi(Folders(self.state))

    def join(self, token: str, *, fails: int = 0) -> str:
        return self.gwctl("up", "--token-file", "-", "--hostname", self.member, stdin=token, fails=fails)

    def status(self) -> dict[str, Any]:
        return self.api.get("/v1/status")

    def knows(self, *names: str) -> bool:
        status = self.status()
        return status["state"] == "running" and set(names) <= {peer["name"] for peer in status["peers"]}

    def home(self) -> dict[str, Any]:
        """Region, name, relay and connected; empty without a home."""
        return self.status().get("home") or {}

    def peer(self, name: str) -> dict[str, Any]:
        return next(peer for peer in self.status()["peers"] if peer["name"] == name)

    def address(self, version: int = 4) -> str:
        addresses: list[str] = self.status()["self"]["addresses"]
        return addresses[0 if version == 4 else 1]

    def key(self) -> bytes:
        """Its private node key."""
        return load_private_key(self.state / "node" / "node.key").raw

    def can_ping(self, address: str) -> bool:
        """One echo request of the system's own ping."""
        return self.lab.run(self.member, ["ping", "-c", "1", "-W", "1", address]).returncode == 0

    def reaches(self, peer: Node, *, relayed: bool) -> bool:
        """A ping is answered, and then the path is so; sessions begin on a relay wherever there is one."""
        answered = self.can_ping(peer.address())
        path = self.peer(peer.member)["path"]
        return answered and path is not None and path["relayed"] is relayed

    def leftovers(self) -> list[str]:
        """What of a node is still to be seen: its interface, routes to the mesh, its socket."""
        found = []
        with in_netns(self.lab.ns(self.member)):
            found += [name for _, name in socket.if_nameindex() if name not in ("lo", "eth0")]
        for family in ("-4", "-6"):
            routes = self.lab.run(self.member, ["ip", family, "route", "show", "table", "all"]).stdout
            found += [line for line in routes.splitlines() if "gw0" in line]
        rules = self.lab.run(self.member, ["nft", "list", "ruleset"]).stdout
        found += [line for line in rules.splitlines() if line.startswith("table")]
        found += [str(path) for path in [self.state / "run" / "node.sock"] if os.path.lexists(path)]
        return found


class Relay(Daemon):
    """``ghostwire relay`` in a member; with a token it enrols at its first start, without it serves whoever comes.

    ``host`` is its name: then it is reached over IPv6 too.
    """

    command = "relay"

    def __init__(
        self, lab: Lab, member: str, folder: Path, port: int = 3478, *, token: str = "", host: str = "", more: str = ""
    ) -> None:
        self.address, self.port = host or lab.addresses[member], port
        listen = "0.0.0.0" if host else self.address
        settings = f'[relay]\nlisten = "{listen}:{port}"\nopen = {str(not token).lower()}\n{more}'
        super().__init__(lab, member, folder, f'{settings}\n[plugin.derp]\nstun = "{listen}:3478"\n')
        self._token = folder / f"{member}.token"
        self._token.write_text(token)
        self.options: list[str] = []

    def words(self) -> list[str]:
        enrolled = (self.state / "relay" / "server.json").exists()
        enrol = [] if enrolled or not self._token.stat().st_size else ["--token-file", str(self._token)]
        return [*super().words(), *enrol, *self.options]

    @property
    def pin(self) -> str:
        """SHA-256 of its certificate, in hex."""
        return fingerprint(self.state / "relay" / "tls.crt", "relay")

    def _answers(self) -> bool:
        """It says on standard output where it is, once it serves."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.member} ended: {self.text()}"
        return f"://{self.address}:{self.port}" in self.text()[self._said :]

    def spawn(self, wrapper: Sequence[str] = ()) -> None:
        self._said = len(self.text()) if self.log.exists() else 0
        super().spawn(wrapper)


def transfer(source: Node, target: Node, data: bytes) -> bytes:
    """Send this over TCP to the target's mesh address; what arrived."""
    address, arrived = target.address(), bytearray()
    with (
        target.lab.socket(target.member, kind=socket.SOCK_STREAM) as listener,
        source.lab.socket(source.member, kind=socket.SOCK_STREAM) as sender,
    ):
        listener.bind((address, 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        sender.settimeout(PATIENCE)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()

        def send() -> None:
            sender.sendall(data)
            sender.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        with receiver:
            receiver.settimeout(PATIENCE)
            while part := receiver.recv(1 << 16):
                arrived += part
        sending.join()
    return bytes(arrived)


class Pinging:
    """The system's own ping, ten times a second while the context is open; then ``lost`` is known."""

    lost: int

    def __init__(self, source: Node, target: Node) -> None:
        words = ["ping", "-i", "0.1", target.address()]
        self._process = source.lab.popen(source.member, words, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=PATIENCE)
        counted = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert counted, said
        self.lost = int(counted[1]) - int(counted[2])


class Mesh:
    """A server and nodes, enrolled and knowing each other; each is a public host unless the lab has it already.

    ``port`` and ``more`` are the server's: where it listens, and what else is in its table of the configuration. With
    ``named``, server and relays are known by their members' names, and so reached over IPv4 and IPv6.
    """

    def __init__(
        self, lab: Lab, folder: Path, *names: str, port: int = 8080, more: str = "", named: bool = False
    ) -> None:
        self.lab, self.folder = lab, folder
        for number, name in [(1, "control"), *enumerate(names, 11)]:
            if name not in lab.members:
                lab.host(name, f"10.50.0.{number}", v6=f"fd50::{number}")
        lab.build()
        self._named = named
        if named:
            lab.hosts({name: lab.outside[name] for name in lab.outside if name not in names})
        self.server = Server(lab, "control", folder, port=port, host="control" if named else "", more=more)
        self.nodes = {name: Node(lab, name, folder) for name in names}

    def start(self, *enrolled: str) -> None:
        """Start the server, make the user ada, and enrol these nodes (the others do not run yet)."""
        self.start_server()
        self.enrol(*enrolled)

    def start_server(self) -> None:
        self.server.start()
        self.server.user("ada")

    def enrol(self, *names: str) -> None:
        """Start these nodes, let them join, and wait until they know each other."""
        for name in names:
            self.nodes[name].spawn()
        for name in names:
            self.nodes[name].ready()
            self.nodes[name].join(self.server.join_token())
        self._meet(names)

    def enrol_many(self, *names: str) -> None:
        """The same for a crowd: one token for all, and they join side by side."""
        token = self.server.join_token("ada", "--reusable")
        for name in names:
            self.nodes[name].spawn()

        def join(name: str) -> None:
            wait_for(f"{name} answers", self.nodes[name].api.answers, CROWDED)
            self.nodes[name].api.post("/v1/up", {"token": token, "hostname": name, "timeout": CROWDED}, timeout=CROWDED)

        with ThreadPoolExecutor(len(names)) as workers:
            list(workers.map(join, names))
        self._meet(names)

    def _meet(self, names: Sequence[str]) -> None:
        for name in names:
            others = [other for other in names if other != name]
            wait_for(f"{name} knows {others}", lambda: self.nodes[name].knows(*others))  # noqa: B023

    def relay(self, member: str, region: str, port: int = 443) -> Relay:
        """A relay in this member that enrols and serves."""
        host = member if self._named else self.lab.addresses[member]
        words = ["relays", "create", member, "--region", region, "--host", host, "--port", port]
        made = json.loads(self.server.gwctl(*map(str, words), "--json"))
        relay = Relay(self.lab, member, self.folder, port, token=made["token"], host=member if self._named else "")
        relay.start()
        return relay

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]
