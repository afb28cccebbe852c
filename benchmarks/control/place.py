"""A real server process with a mesh of any size in its database."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.control.member import Member, Target

from ghostwire.capabilities.storage import Transaction
from ghostwire.cli.api_client import ServerApi
from ghostwire.config import ServerConfig
from ghostwire.folders import Folders
from ghostwire.keys import MachineKey, NodeKey
from ghostwire.model import Node
from ghostwire.server.nodes.addresses import AddressPlan, stored_prefix
from ghostwire.server.nodes.enrolment import Claim, Enrolment
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import Credentials, Host
from ghostwire_auth_key.authenticator import KeyAuthenticator
from ghostwire_storage_sql.storage import SqlStorage

GROUP = 100
"""Members that see each other."""
LONER = -1
"""The group of nodes that no rule names: nobody sees them."""
DAY = 86400
_log = logging.getLogger("benchmarks.control")
ALLOW_ALL = json.dumps({"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]})


class Place:
    """One state folder, the server that runs there, and all members of its mesh by number."""

    def __init__(self, state: Path, most: int) -> None:
        self.state, self.members = state, list[Member]()
        self._groups = range(-(-most // GROUP))
        self._secrets: dict[int, str] = {}
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (state / "server.log").open("ab")
        self.api = ServerApi(Folders(state, client=True))
        self.target: Target

    @property
    def pid(self) -> int:
        """The server's."""
        assert self._process is not None
        return self._process.pid

    def prepare(self) -> None:
        """First start: keys for every group, and the policy by which members of a group see each other."""
        self.start(tls=False)
        for group in (LONER, *self._groups):
            order = {"reusable": True, "tags": [_tag(group)], "ttl_seconds": DAY}
            self._secrets[group] = JoinToken.parse(self.api.post("/api/v1/preauthkeys", order)["token"]).secret
        self.set_policy(self._grouped())
        self.stop()

    def start(self, *, tls: bool) -> float:
        """Start the server; seconds until it was ready."""
        began = time.perf_counter()
        program = Path(sys.executable).with_name("ghostwire")
        command: list[str | Path] = [program, "--state", self.state, "server", "--listen", f"127.0.0.1:{self._port}"]
        command += [] if tls else ["--no-tls"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log)
        assert self._process.stdout is not None
        if b"ready" not in self._process.stdout.readline():
            raise SystemExit(f"error: the server did not start:\n{(self.state / 'server.log').read_text()[-2000:]}")
        took = time.perf_counter() - began
        token = JoinToken.parse(self.api.post("/api/v1/preauthkeys", {})["token"])
        self.target = Target(self._port, token.control_key, _client_context() if tls else None)
        return took

    def stop(self, *, kill: bool = False) -> None:
        """Stop it; harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None and process.stdout is not None:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            process.wait(60)
            process.stdout.close()

    def grow(self, size: int) -> None:
        """Enrol members up to this number while no server runs: by the server's own code, without the network."""
        new = [self.newcomer(number, number // GROUP) for number in range(len(self.members), size)]
        for member, id_ in zip(new, asyncio.run(self._enrol(new)), strict=True):
            member.id = id_
        self.members += new

    def newcomer(self, number: int, group: int) -> Member:
        """A machine that is not in the mesh yet."""
        return Member(number, group, self._secrets[group])

    def rename(self, members: Sequence[Member], name: str) -> None:
        """Give these other names while no server runs."""

        def work(transaction: Transaction) -> None:
            for member in members:
                node = transaction.get(Node, member.id)
                assert node is not None
                transaction.put(msgspec.structs.replace(node, name=f"{name}-{member.number}"))

        asyncio.run(self._write([work]))

    def set_policy(self, source: str | None = None) -> None:
        """Put a policy in force; None: members see those of their group alone."""
        self.api.put("/api/v1/policy?force", {"source": source or self._grouped()})

    def cpu(self) -> float:
        """Seconds of a core that the server used, all threads."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def rss(self) -> float:
        """Megabytes of memory that the server holds."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6

    def _grouped(self) -> str:
        tags = [_tag(group) for group in self._groups]
        rules = [{"action": "accept", "src": [tag], "dst": [f"{tag}:*"]} for tag in tags]
        return json.dumps({"tagOwners": {tag: [] for tag in (*tags, _tag(LONER))}, "acls": rules})

    async def _enrol(self, members: list[Member]) -> list[int]:
        def ranges(transaction: Transaction) -> str:
            return stored_prefix(transaction, os.urandom)

        plan = AddressPlan(ServerConfig().ipv4, (await self._write([ranges]))[0])
        enrolment = Enrolment({"auth_key": KeyAuthenticator(_log)}, plan, os.urandom)
        nodes = await self._write([partial(enrolment.enrol, claim=_claim(member)) for member in members])
        return [node.id for node in nodes]

    async def _write(self, works: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        storage = SqlStorage(self.state / "server" / "storage_sql", "", os.urandom, _log)
        await storage.open(lambda commit: None)
        try:
            return await asyncio.gather(*(storage.write(work) for work in works))
        finally:
            await storage.close()


def _claim(member: Member) -> Claim:
    return Claim(
        machine_key=member.machine.public(MachineKey),
        node_key=member.node.public(NodeKey),
        disco_key=member.disco,
        host=Host(hostname=member.name, os="linux", version="1"),
        credentials=Credentials("auth_key", member.secret),
        now=int(time.time()),
    )


def _tag(group: int) -> str:
    return "tag:loner" if group == LONER else f"tag:group-{group}"


def _client_context() -> ssl.SSLContext:
    """As nodes use it: what is inside authenticates the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
