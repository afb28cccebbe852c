"""A relay nearer than the server's own: nodes are at home there, outlive its restart, and leave it when it dies."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from natlab import Lab
from programs import Mesh, Relay, transfer, wait_for

PORT = 443
NODES = ("a1", "b1")
SOON, FAIL_OVER = 10, 40
"""Seconds until a restarted relay carries again; until the nodes have found out that one is gone, and moved."""
pytestmark = pytest.mark.usefixtures("tun")


@pytest.fixture(scope="module")
def placed(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> tuple[Mesh, Relay]:
    """Nodes that may use TCP 443 alone, a relay near them, and the server, with its own, 25 ms away."""
    lab = make_lab()
    lab.host("control", "10.50.0.1", wire=True)
    lab.host("relay", "10.50.0.31")
    for name in NODES:
        lab.site(name[0], "udp_blocked")
    mesh = Mesh(lab, tmp_path_factory.mktemp("placed"), *NODES, port=PORT)
    lab.impair("control", delay=25)
    mesh.start_server()
    relay = mesh.relay("relay", "near", PORT)
    mesh.enrol(*NODES)
    return mesh, relay


def carries(mesh: Mesh, relay: str) -> bool:
    """Both nodes are at home at this relay, and packets pass through it."""
    here, there = (mesh[name] for name in NODES)
    reached = here.reaches(there, relayed=True) and there.reaches(here, relayed=True)
    return reached and {here.home()["relay"], there.home()["relay"], here.peer("b1")["path"]["relay"]} == {relay}


def test_nodes_are_at_home_at_the_nearest_relay(placed: tuple[Mesh, Relay]) -> None:
    mesh, _ = placed
    wait_for("both are there", lambda: carries(mesh, "relay"))
    assert transfer(mesh["a1"], mesh["b1"], bytes(1 << 20)) == bytes(1 << 20)


def test_traffic_goes_on_soon_after_the_relay_restarts(placed: tuple[Mesh, Relay]) -> None:
    mesh, relay = placed
    wait_for("both are there", lambda: carries(mesh, "relay"))
    relay.end()
    relay.start()
    wait_for("it carries again", lambda: carries(mesh, "relay"), SOON)


def test_nodes_move_to_the_servers_own_relay_when_theirs_dies(placed: tuple[Mesh, Relay]) -> None:
    mesh, relay = placed
    wait_for("both are there", lambda: carries(mesh, "relay"))
    relay.end(signal.SIGKILL)
    wait_for("the server's own carries", lambda: carries(mesh, "embedded"), FAIL_OVER)
