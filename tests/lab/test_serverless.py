"""The real programs in namespaces: the server is killed; nodes talk on, start anew and change; it comes back."""

from __future__ import annotations

import signal

import pytest
from programs import CROWDED, Mesh, Pinging, wait_for

pytestmark = pytest.mark.usefixtures("tun")
PREFIX = "10.77.0.0/24"


def test_a_mesh_lives_without_its_server_and_tells_it_what_changed_when_it_is_back(own_mesh: Mesh) -> None:
    alice, bob, eve = own_mesh["alice"], own_mesh["bob"], own_mesh["eve"]
    own_mesh.enrol("eve")
    pairs = [(one, other) for one in (alice, bob, eve) for other in (alice, bob, eve) if one is not other]
    for one, other in pairs:
        wait_for(f"{one.member} reaches {other.member}", lambda o=one, t=other: o.reaches(t, relayed=False))  # type: ignore[misc]
    own_mesh.server.end(signal.SIGKILL)
    with Pinging(alice, bob) as pinging:
        assert eve.end() == 0
        eve.start()
        wait_for("eve is up from her cache", lambda: eve.knows("alice", "bob"))
        for other in (alice, bob):
            wait_for(f"eve has a path to {other.member}", lambda o=other: eve.reaches(o, relayed=False))  # type: ignore[misc]
            wait_for(f"{other.member} reaches eve", lambda o=other: o.can_ping(eve.address()))  # type: ignore[misc]
        assert not eve.status()["server"]["connected"]
    assert pinging.lost <= 1  # the last may be under way when ping is told to end

    bob.api.post("/v1/routes/advertise", {"prefix": PREFIX})
    own_mesh.lab.ip(
        "bob",
        "addr del 10.50.0.12/16 dev eth0",
        "addr del fd50::12/64 dev eth0",
        "addr add 10.50.0.78/16 dev eth0",
        "route replace default via 10.50.255.254",
    )
    wait_for("alice reaches bob where he is now", lambda: alice.can_ping(bob.address()))

    own_mesh.server.start()
    for node in (alice, bob, eve):
        wait_for(f"{node.member} is back", lambda n=node: n.status()["server"]["connected"], CROWDED)  # type: ignore[misc]
    wait_for("the server has bob's route", lambda: PREFIX in offered(own_mesh))
    wait_for("eve reaches bob", lambda: eve.reaches(bob, relayed=False))
    assert "10.50.0.78" in eve.peer("bob")["path"]["endpoint"]
    for node in (alice, bob, eve):
        assert node.status()["map"]["divergences"] == 0


def offered(mesh: Mesh) -> list[str]:
    """The prefixes that bob offers, as the server has them."""
    listed = mesh.server.api.get("/api/v1/routes")["routes"]
    return [each["prefix"] for each in listed if each["node"]["name"] == "bob"]
