"""A mesh of people and servers whose policy changes, and what shows who of them reaches whom."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lans import Conversation, asks, echoing
from natlab import Lab
from programs import CROWDED, Mesh, Node, Server, gwctl_words, wait_for

PEOPLE = {"alice": "alice@company.com", "bob": "bob@company.com", "carol": "carol.dev@company.com"}
PARTS: dict[str, tuple[str, Sequence[str]]] = {
    "laptop": ("alice", ()),
    "desk": ("alice", ()),
    "phone": ("bob", ()),
    "dev": ("carol", ()),
    "web": ("alice", ("tag:server",)),
}
"""Nodes: whose they are, and their tags."""
PORTS = (80, 2222)
ICMP = {4: "icmp", 6: "icmpv6"}


class Try(NamedTuple):
    """Somebody tries to reach somebody: over IPv4 or IPv6; without a port by ping."""

    source: str
    destination: str
    version: int
    kind: str
    port: int = 0


class Company:
    """The nodes of `PARTS` with echoes on `PORTS`; ``settings`` are every node's."""

    def __init__(self, folder: Path, lab: Lab, settings: str = "") -> None:
        self.lab, self.mesh = lab, Mesh(lab, folder, *PARTS)
        self.server: Server = self.mesh.server
        for name in PARTS:
            self.mesh.nodes[name] = Node(lab, name, folder, settings)
        self.server.start()
        for name, email in PEOPLE.items():
            self.server.api.post("/api/v1/users", {"name": name, "email": email})
        for name in PARTS:
            self[name].spawn()
        with ThreadPoolExecutor(len(PARTS)) as workers:
            list(workers.map(self._join, PARTS))
        self.addresses = {name: {version: self[name].address(version) for version in (4, 6)} for name in PARTS}

    def _join(self, name: str) -> None:
        node, (user, tags) = self[name], PARTS[name]
        wait_for(f"{name} answers", node.api.answers, CROWDED)
        made = self.server.api.post("/api/v1/preauthkeys", {"user": user, "tags": tags})
        node.api.post("/v1/up", {"token": made["token"], "hostname": name, "timeout": CROWDED}, timeout=CROWDED)

    def __getitem__(self, name: str) -> Node:
        return self.mesh[name]

    @contextlib.contextmanager
    def open_for_business(self) -> Iterator[None]:
        """Echoes everywhere."""
        with contextlib.ExitStack() as stack:
            for name, port in itertools.product(PARTS, PORTS):
                stack.enter_context(echoing(self.lab, name, port))
            yield

    def decree(self, policy: str) -> None:
        """Put a policy in force."""
        held = self.server.api.get("/api/v1/policy")["version"]
        self.server.api.put("/api/v1/policy", {"source": policy}, headers={"If-Match": f'"{held}"'})

    def expected(self, attempt: Try) -> bool:
        """What the server says of it when it explains the policy."""
        target = f"[{self.addresses[attempt.destination][attempt.version]}]"
        question = {
            "source": attempt.source,
            "destination": f"{target}:{attempt.port}" if attempt.port else target.strip("[]"),
            "protocol": attempt.kind if attempt.port else ICMP[attempt.version],
        }
        allowed: bool = self.server.api.post("/api/v1/policy/explain", question)["allowed"]
        return allowed

    def succeeds(self, attempt: Try) -> bool:
        """Whether it is reached. A first packet may wait for a handshake."""
        address = self.addresses[attempt.destination][attempt.version]
        if not attempt.port:
            return self[attempt.source].can_ping(address)
        kind = socket.SOCK_STREAM if attempt.kind == "tcp" else socket.SOCK_DGRAM
        return asks(self.lab, attempt.source, address, attempt.port, kind, timeout=1.5)

    def obeyed(self) -> None:
        """What is reached is what may be. On a crowded machine an answer may come too late: what was not reached is
        tried again."""
        every = [
            Try(source, destination, version, *service)
            for source, destination in itertools.permutations(PARTS, 2)
            for version, service in itertools.product((4, 6), [("ping",), *itertools.product(("tcp", "udp"), PORTS)])
        ]
        expected = {attempt: self.expected(attempt) for attempt in every}
        assert len(set(expected.values())) == 2
        wrong = self._wrong(expected)
        for _ in range(3):
            wrong = self._wrong({attempt: expected[attempt] for attempt in wrong}) if wrong else {}
        assert not wrong

    def _wrong(self, expected: dict[Try, bool]) -> dict[Try, bool]:
        with ThreadPoolExecutor(len(expected)) as workers:
            reached = dict(zip(expected, workers.map(self.succeeds, expected), strict=True))
        return {attempt: found for attempt, found in reached.items() if found != expected[attempt]}

    def known(self, name: str) -> set[str]:
        """The peers that a node is told of."""
        return {peer["name"] for peer in self[name].status()["peers"]}


def silence_after(talks: Sequence[Conversation], act: Callable[[], object], quiet: float = 1.2) -> float:
    """How many seconds after this act the conversations still went on, once they were silent for so long."""

    def last() -> float:
        return max(began, *(talk.last for talk in talks))

    began = time.monotonic()
    act()
    wait_for("they fall silent", lambda: time.monotonic() - last() > quiet)
    return last() - began


class Heard:
    """What comes of a stream: how much, and when the last."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.count, self.last = 0, time.monotonic()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while self._sock.recv(100):
                self.count, self.last = self.count + 1, time.monotonic()

    def many(self) -> bool:
        """Whether it flows."""
        return self.count > 20

    def silent(self) -> bool:
        """Whether nothing came for long."""
        return time.monotonic() - self.last > 1.2


class Stream:
    """A member sends datagrams all the time to whoever asked once, from entering to leaving."""

    PORT = 5004

    def __init__(self, lab: Lab, member: str, version: int) -> None:
        self._lab, self._family = lab, socket.AF_INET6 if version == 6 else socket.AF_INET
        self._sock = lab.socket(member, self._family)
        self._sock.bind(("::" if version == 6 else "0.0.0.0", self.PORT))
        self._sock.settimeout(0.01)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._sock.close()

    def _send(self) -> None:
        asker = None
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                asker = self._sock.recvfrom(100)[1]
            if asker is not None:
                with contextlib.suppress(OSError):  # the system may say that it does not let it out
                    self._sock.sendto(b"word", asker)
                self.sent += 1

    @contextlib.contextmanager
    def listener(self, member: str, address: str) -> Iterator[Heard]:
        """Somebody who asks, and then only listens."""
        with self._lab.socket(member, self._family) as sock:
            sock.connect((address, self.PORT))
            heard = Heard(sock)
            wait_for("it is heard", lambda: sock.send(b"?") and not self._over.wait(0.2) and heard.count, CROWDED)
            yield heard
            sock.shutdown(socket.SHUT_RDWR)


def typed(node: Server, *words: str, answer: str, before: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Run gwctl at a terminal, and answer when it asks, after ``before``; its exit code and what the screen shows."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(gwctl_words(node.state, *words), stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    shown, answered = "", False
    while select.select([terminal], [], [], CROWDED)[0]:
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # the program ended
            break
        if not answered and "[y/N]" in shown:
            before()
            os.write(terminal, f"{answer}\n".encode())
            answered = True
    os.close(terminal)
    return process.wait(CROWDED), shown
