"""The real programs in namespaces: a mesh goes on working when its parts are moved, killed and started again."""

from __future__ import annotations

import signal

import pytest
from programs import Mesh, wait_for

pytestmark = pytest.mark.usefixtures("tun")


def test_a_node_that_changes_its_address_stays_reachable(own_mesh: Mesh) -> None:
    alice, bob = own_mesh["alice"], own_mesh["bob"]
    wait_for("alice reaches bob", lambda: alice.can_ping(bob.address()))
    own_mesh.lab.ip(
        "alice",
        "addr del 10.50.0.11/16 dev eth0",
        "addr del fd50::11/64 dev eth0",
        "addr add 10.50.0.77/16 dev eth0",
        "route replace default via 10.50.255.254",
    )
    wait_for("alice still reaches bob", lambda: alice.can_ping(bob.address()))
    wait_for("bob sees where she is", lambda: "10.50.0.77" in bob.peer("alice")["path"]["endpoint"])
    assert bob.can_ping(alice.address())


def test_a_node_comes_back_while_the_server_is_down(own_mesh: Mesh) -> None:
    alice, bob = own_mesh["alice"], own_mesh["bob"]
    wait_for("alice reaches bob", lambda: alice.can_ping(bob.address()))
    own_mesh.server.end(signal.SIGKILL)
    assert bob.end() == 0
    bob.start()
    wait_for("bob is up from his cache", lambda: bob.knows("alice"))
    assert not bob.status()["server"]["connected"]
    wait_for("bob reaches alice", lambda: bob.can_ping(alice.address()))
    assert alice.can_ping(bob.address())


def test_a_node_killed_outright_leaves_no_interface_and_starts_again(own_mesh: Mesh) -> None:
    alice, bob = own_mesh["alice"], own_mesh["bob"]
    assert alice.end(signal.SIGKILL) == -signal.SIGKILL
    assert [left for left in alice.leftovers() if not left.endswith(".sock")] == []
    alice.start()
    wait_for("alice is up again", lambda: alice.knows("bob"))
    wait_for("alice reaches bob", lambda: alice.can_ping(bob.address()))


def test_a_node_that_is_told_to_end_leaves_nothing(own_mesh: Mesh) -> None:
    alice = own_mesh["alice"]
    assert alice.leftovers()
    assert alice.end(signal.SIGTERM) == 0
    assert alice.leftovers() == []


def test_down_takes_the_node_out_and_up_brings_it_back(own_mesh: Mesh) -> None:
    alice, bob = own_mesh["alice"], own_mesh["bob"]
    alice.gwctl("down")
    address = own_mesh.server.nodes()["alice"]["addresses"][0]
    assert alice.status()["state"] == "stopped"
    assert not bob.can_ping(address)
    alice.gwctl("up")
    wait_for("bob reaches alice", lambda: bob.can_ping(address))


def test_a_node_that_logs_out_needs_a_token(own_mesh: Mesh) -> None:
    alice = own_mesh["alice"]
    alice.gwctl("down", "--logout")
    assert alice.status()["state"] == "needs-login"
    assert "--token-file" in alice.gwctl("up", fails=2)
    alice.join(own_mesh.server.join_token())
    wait_for("alice is back", lambda: alice.knows("bob"))


def test_gwctl_up_starts_the_daemon_and_down_stop_ends_it(own_mesh: Mesh) -> None:
    eve, token = own_mesh["eve"], own_mesh.server.join_token()
    command = [*eve.words()[:3], "--state", str(eve.state), "up", "--token-file", "-"]
    command[2] = command[2].replace("ghostwire; sys", "gwctl; sys").replace("ghostwire()", "gwctl()")
    done = own_mesh.lab.run("eve", command, input=token)
    assert done.returncode == 0, done.stderr
    assert "gw0" in " ".join(eve.leftovers())
    assert token not in (eve.state / "node" / "client.log").read_text()
    eve.gwctl("down", "--stop")
    assert eve.leftovers() == []


def test_a_server_killed_outright_has_lost_nothing(own_mesh: Mesh) -> None:
    server, alice = own_mesh.server, own_mesh["alice"]
    server.user("grace")
    token, before = server.join_token("grace"), server.nodes()
    server.end(signal.SIGKILL)
    wait_for("alice notices", lambda: not alice.status()["server"]["connected"])
    server.start()
    after = server.nodes()
    kept = ("id", "stable_id", "name", "user", "addresses", "node_key", "machine_key")
    assert {n: [after[n][k] for k in kept] for n in after} == {n: [before[n][k] for k in kept] for n in before}
    wait_for("alice is connected again", lambda: alice.status()["server"]["connected"])
    own_mesh["eve"].start()
    own_mesh["eve"].join(token)
    wait_for("alice hears of eve", lambda: alice.knows("eve"))


def test_a_node_removed_on_the_server_is_gone_for_the_others(own_mesh: Mesh) -> None:
    alice = own_mesh["alice"]
    own_mesh.server.gwctl("nodes", "delete", "bob", "--yes")
    wait_for("alice forgets bob", lambda: not alice.knows("bob"))
    address = own_mesh["alice"].address()
    wait_for("bob no longer reaches alice", lambda: not own_mesh["bob"].can_ping(address))
