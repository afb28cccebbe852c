"""Two relays of one region beside the server's own: meshed, blind, closed to whom the mesh removed, and drained."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from derpclient import DerpClient
from memory import held
from natlab import Lab
from programs import Mesh, Node, Pinging, wait_for

PORT = 443
NODES = ("a1", "b1", "c1", "d1")
ADDRESSES = {"r1": "10.50.0.31", "r2": "10.50.0.32"}
pytestmark = pytest.mark.usefixtures("tun")

_SENDER = """
import socket, sys
line = sys.stdin.readline().encode()
with socket.create_connection((sys.argv[1], 9000)) as sock:
    while True:
        sock.sendall(line)
"""
_RECEIVER = """
import socket, sys
with socket.create_server((sys.argv[1], 9000)) as listener:
    print("ready", flush=True)
    sock = listener.accept()[0]
    print(len(sock.recv(1 << 20, socket.MSG_WAITALL)), flush=True)
    while sock.recv(65536):
        pass
"""


class Region:
    """The mesh, and its relays ``r1`` and ``r2``; the server's own is far away from all nodes."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        lab.host("control", "10.50.0.1", wire=True)
        for name, address in ADDRESSES.items():
            lab.host(name, address)
        for name in NODES:
            lab.site(name[0], "udp_blocked")
        self.mesh = Mesh(lab, folder, *NODES, port=PORT)
        lab.impair("control", delay=25)
        self.mesh.start_server()
        self.relays = {name: self.mesh.relay(name, "near", PORT) for name in ADDRESSES}
        self.mesh.enrol(*NODES)
        try:
            wait_for("all are at a near relay", lambda: {self.at(name) for name in NODES} == set(self.relays))
        except AssertionError as error:
            error.add_note("\n".join(f"{node.home()}\n{node.text()}" for node in self.mesh.nodes.values()))
            raise

    def at(self, name: str) -> str | None:
        """The relay that a node is connected to as its home."""
        home = self.mesh[name].home()
        return home["relay"] if home.get("connected") else None

    def pair(self) -> tuple[Node, Node]:
        """Two nodes at different relays, the first at ``r1``."""
        there = {self.at(name): self.mesh[name] for name in NODES[:3]}
        return there["r1"], there["r2"]

    def shown(self, relay: str) -> dict[str, object]:
        shown: dict[str, object] = json.loads(self.mesh.server.gwctl("relays", "show", relay, "--json"))
        return shown


@pytest.fixture(scope="module")
def region(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Region:
    return Region(make_lab(), tmp_path_factory.mktemp("region"))


def test_nodes_at_different_relays_of_a_region_reach_each_other(region: Region) -> None:
    here, there = region.pair()
    wait_for("they reach each other", lambda: here.reaches(there, relayed=True) and there.reaches(here, relayed=True))


def test_no_relay_ever_holds_plaintext_or_a_private_key_of_a_node(region: Region) -> None:
    here, there = region.pair()
    wait_for("they reach each other", lambda: here.reaches(there, relayed=True))
    secrets = {f"{name}'s key": region.mesh[name].key() for name in NODES}
    secrets |= {f"{name} in hex": key.hex().encode() for name, key in secrets.items()}
    secrets["the marker"] = marker = os.urandom(24).hex().encode()
    relaying = [*region.relays.values(), region.mesh.server]
    with streaming(marker, here, there) as (sender, receiver):
        assert "the marker" in held(sender.pid, secrets)  # what is looked for can be found
        assert "the marker" in held(receiver.pid, secrets)
        assert f"{here.member}'s key" in held(here.pid, secrets)
        assert [held(program.pid, secrets) for program in relaying] == [set(), set(), set()]


@contextlib.contextmanager
def streaming(
    marker: bytes, source: Node, target: Node
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """A program that sends nothing but the marker over TCP, and one that takes it and has had a megabyte."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    words = [sys.executable, "-c"]
    receiver = target.lab.popen(target.member, [*words, _RECEIVER, target.address()], **options)
    assert receiver.stdout.readline() == "ready\n"
    sender = source.lab.popen(source.member, [*words, _SENDER, target.address()], **options)
    try:
        sender.stdin.write(f"{marker.decode()}\n")
        sender.stdin.flush()
        assert receiver.stdout.readline() == f"{1 << 20}\n"
        yield sender, receiver
    finally:
        for process in (sender, receiver):
            process.kill()
            process.wait()


def test_relays_close_on_a_removed_node_at_once_and_on_nobody_else(region: Region) -> None:
    mesh, removed, kept = region.mesh, region.mesh["d1"].key(), region.mesh["a1"].key()
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(DerpClient(mesh.lab, "c1", address, PORT, key=removed, patience=2))
            for address in ADDRESSES.values()
        ]
        mesh.server.gwctl("nodes", "delete", "d1", "--yes")
        assert [client.is_closed() for client in clients] == [True, True]
    for address in ADDRESSES.values():
        with pytest.raises(ConnectionError):
            DerpClient(mesh.lab, "c1", address, PORT, key=removed)
        DerpClient(mesh.lab, "c1", address, PORT, key=kept).close()


def test_draining_a_relay_moves_its_nodes_and_loses_next_to_nothing(region: Region) -> None:
    here, there = region.pair()
    wait_for("they reach each other", lambda: here.reaches(there, relayed=True))
    with Pinging(here, there) as pinging:
        region.mesh.server.gwctl("relays", "drain", "r1")
        wait_for("r1 is drained", lambda: region.shown("r1")["nodes"] == 0, 40)
        wait_for("all are at r2", lambda: {region.at(name) for name in NODES[:3]} == {"r2"})
    assert pinging.lost <= 1
