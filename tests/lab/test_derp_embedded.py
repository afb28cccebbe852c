"""The relay inside the coordination server: nodes whose routers let nothing but TCP 443 pass reach each other."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import pytest
from derpclient import DerpClient
from natlab import Lab
from programs import Mesh, Pinging, transfer, wait_for

PORT = 443
pytestmark = pytest.mark.usefixtures("tun")


@pytest.fixture(scope="module")
def mesh(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """Three nodes, each behind a router of its own that blocks UDP, and a server that listens on 443."""
    lab = make_lab()
    for name in "abc":
        lab.site(name, "udp_blocked")
    mesh = Mesh(lab, tmp_path_factory.mktemp("mesh"), "a1", "b1", "c1", port=PORT)
    mesh.start("a1", "b1", "c1")
    return mesh


def test_nodes_without_udp_reach_each_other_through_it(mesh: Mesh) -> None:
    wait_for("a1 reaches b1", lambda: mesh["a1"].reaches(mesh["b1"], relayed=True))
    answer = json.loads(mesh["a1"].gwctl("ping", "b1", "-c", "3", "-i", "0.1", "--json"))
    assert answer["received"] == 3
    for here, there in (("a1", "b1"), ("b1", "a1")):
        path = mesh[here].peer(there)["path"]
        assert (path["transport"], path["relayed"], path["relay"]) == ("derp", True, "embedded")
        assert mesh[here].home()["relay"] == "embedded"
    assert "(relayed)" in mesh["a1"].gwctl("status")


def test_tcp_crosses_it_whole(mesh: Mesh) -> None:
    wait_for("a1 reaches b1", lambda: mesh["a1"].can_ping(mesh["b1"].address(6)))
    sent = os.urandom(4 << 20)
    assert transfer(mesh["a1"], mesh["b1"], sent) == sent


def test_a_node_killed_outright_is_back_for_others_soon_after_it_started_again(mesh: Mesh) -> None:
    alice, bob = mesh["a1"], mesh["b1"]
    wait_for("a1 reaches b1", lambda: alice.can_ping(bob.address()))
    with Pinging(alice, bob) as pinging:
        began = time.monotonic()
        bob.end(signal.SIGKILL)
        bob.start()
        wait_for("b1 is at home", lambda: bob.home().get("connected"))
        absence = time.monotonic() - began
        wait_for("a1 reaches b1", lambda: alice.can_ping(bob.address()))
    assert pinging.lost / 10 < max(4.0, 2 * absence + 1), f"{pinging.lost / 10} s, absent for {absence:.1f} s"


def test_it_closes_on_a_removed_node_at_once_and_on_nobody_else(mesh: Mesh) -> None:
    kept, removed = (mesh[name].key() for name in ("a1", "c1"))
    with DerpClient(mesh.lab, "b1", "10.50.0.1", PORT, key=removed, patience=2) as client:
        mesh.server.gwctl("nodes", "delete", "c1", "--yes")
        assert client.is_closed()
    with pytest.raises(ConnectionError):
        DerpClient(mesh.lab, "b1", "10.50.0.1", PORT, key=removed)
    DerpClient(mesh.lab, "b1", "10.50.0.1", PORT, key=kept).close()
    # An answer may have gone to a1's double, as long as that was there.
    wait_for("a1 reaches b1", lambda: mesh["a1"].can_ping(mesh["b1"].address()))
