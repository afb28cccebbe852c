"""The real programs in namespaces: two nodes of one server reach each other, and nobody on the way reads along."""

from __future__ import annotations

import json
import os
import select
import socket

import pytest
from programs import Mesh, transfer, wait_for

ETH_P_ALL = 0x0003
pytestmark = pytest.mark.usefixtures("tun")


@pytest.mark.parametrize("version", [4, 6])
def test_nodes_enrolled_by_join_token_ping_each_other(mesh: Mesh, version: int) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    wait_for("alice reaches bob", lambda: alice.can_ping(bob.address(version)))
    assert bob.can_ping(alice.address(version))


def test_tcp_crosses_the_mesh_whole(mesh: Mesh) -> None:
    sent = os.urandom(1 << 20) * 20
    assert transfer(mesh["alice"], mesh["bob"], sent) == sent


def test_what_crosses_the_internet_is_wireguard(mesh: Mesh) -> None:
    secret = b"nobody on the way reads this"
    alice, bob = mesh["alice"], mesh["bob"]
    wait_for("the path is direct", lambda: alice.reaches(bob, relayed=False) and bob.reaches(alice, relayed=False))
    with mesh.lab.socket("alice", socket.AF_PACKET, socket.SOCK_RAW) as tap:
        tap.bind(("eth0", ETH_P_ALL))
        with mesh.lab.socket("alice") as sender, mesh.lab.socket("bob") as receiver:
            receiver.bind((bob.address(), 9999))
            receiver.settimeout(10)
            sender.sendto(secret, (bob.address(), 9999))
            data, source = receiver.recvfrom(100)
        assert (data, source[0]) == (secret, alice.address())
        seen = bytearray()
        while select.select([tap], [], [], 0)[0]:
            seen += tap.recv(4096)
    assert b"\x04\x00\x00\x00" in seen  # a WireGuard data message
    assert secret not in seen


def test_gwctl_shows_the_mesh_from_a_node(mesh: Mesh) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    wait_for("the path is direct", lambda: alice.reaches(bob, relayed=False))
    answer = json.loads(alice.gwctl("ping", "bob", "-c", "2", "-i", "0.1", "--json"))
    assert answer["received"] == 2
    assert answer["answers"][0]["rtt_ms"] > 0
    assert answer["direct"]
    assert "\ndirect after 1 ping, " in alice.gwctl("ping", "bob", "--until-direct")
    assert alice.gwctl("debug", "paths", "bob").startswith("bob: direct over udp ")
    assert alice.gwctl("ip", "bob", "-4").strip() == bob.address()
    peer = alice.peer("bob")
    assert (peer["path"]["transport"], peer["path"]["relayed"]) == ("udp", False)
    assert peer["last_handshake"]
    assert peer["rx_bytes"] > 0
    assert peer["tx_bytes"] > 0
    assert "(connected)" in alice.gwctl("status")
    # of several direct paths a better one may just have been found
    wait_for("status names the path in use", lambda: alice.peer("bob")["path"]["endpoint"] in alice.gwctl("status"))


def test_gwctl_administers_the_mesh_on_the_server(mesh: Mesh) -> None:
    nodes = mesh.server.nodes()
    assert {"alice", "bob"} <= set(nodes)
    assert nodes["alice"]["online"]
    assert nodes["alice"]["addresses"] == mesh["alice"].status()["self"]["addresses"]
    assert "alice" in mesh.server.gwctl("nodes", "list")
    assert mesh.server.url in mesh.server.gwctl("server", "status")
