"""What using an exit node asks of the machine: names, what is left behind, and who may use one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lans import asks, echoing, until_asked
from nameserver import resolving
from natlab import Lab
from programs import CROWDED, Mesh, Server, wait_for

pytestmark = pytest.mark.usefixtures("tun")

NAME = "control.mesh.example"
WEB = "198.51.100.99"
"""On the internet, as policies understand it; the lab's other addresses are private."""
OTHERS = """
table ip nat {
  chain POSTROUTING {
    type nat hook postrouting priority 100
    ip saddr 172.17.0.0/16 masquerade
  }
}
table ip filter {
  chain FORWARD {
    type filter hook forward priority 0
    ip saddr 172.17.0.2 drop
  }
}
"""
"""As a container engine has them."""
POLICY = {
    "tagOwners": {"tag:exit": ["ada@example.com"]},
    "acls": [{"action": "accept", "src": ["ada@example.com"], "dst": ["tag:exit:7"]}],
    "autoApprovers": {"exitNode": ["tag:exit"]},
}
GRANT = {"action": "accept", "src": ["ada@example.com"], "dst": ["autogroup:internet:*"]}


class Exits:
    """A mesh of alice and the exit node berlin, who know their server by its name, which ns tells them."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.lab, self.folder, self.asked = lab, folder, list[str]()
        for number, name in enumerate(("alice", "berlin"), 11):
            lab.host(name, f"10.50.0.{number}", v6=f"fd50::{number}")
        lab.host("ns", "10.50.0.53")
        lab.host("web", "10.50.0.99")
        lab.members["web"].links += [f"addr add {WEB}/32 dev lo", f"route replace 10.50.0.0/16 dev eth0 src {WEB}"]
        lab.members["inet"].links.append(f"route add {WEB}/32 via 10.50.0.99")
        for name in ("alice", "berlin"):
            lab.members[name].rules = OTHERS
            lab.resolv(name, "nameserver 10.50.0.53\n")
        self.mesh = Mesh(lab, folder, "alice", "berlin")
        self.mesh.server = Server(lab, "control", folder, host=NAME)
        self.server, self.alice, self.berlin = self.mesh.server, self.mesh["alice"], self.mesh["berlin"]
        self.before = {name: machine(lab, name) for name in ("alice", "berlin")}

    def offer(self) -> None:
        """The policy approves what berlin offers; nobody may use it yet."""
        self.server.gwctl("users", "set-email", "ada", "ada@example.com")
        self.server.gwctl("nodes", "tag", "berlin", "tag:exit")
        self.allow([])
        self.berlin.gwctl("route", "advertise", "exit")
        wait_for("berlin may", lambda: "approved" in self.berlin.gwctl("route", "list"), CROWDED)

    def allow(self, more: list[object]) -> None:
        """Put a policy with these further rules in force."""
        file = self.folder / "policy.json"
        file.write_text(json.dumps({**POLICY, "acls": [*POLICY["acls"], *more]}))  # type: ignore[misc]
        self.server.gwctl("policy", "set", str(file), "--yes")


def machine(lab: Lab, name: str) -> dict[str, list[str]]:
    """Rules, routes, firewall and settings of a member, in the words of the system's tools."""
    looks = ("ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all", "nft list ruleset")
    settings = "sysctl -a -r forwarding|ip_forward|rp_filter|accept_ra$"
    return {look: sorted(lab.run(name, look.split()).stdout.splitlines()) for look in (*looks, settings)}


@pytest.fixture(scope="module")
def exits(tun: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exits]:
    with Lab() as lab:
        made = Exits(tmp_path_factory.mktemp("exits"), lab)
        with resolving(lab, "ns", {NAME: lab.addresses["control"]}) as made.asked:
            made.mesh.start("alice", "berlin")
            made.offer()
            yield made


def test_an_exit_node_is_for_those_whom_the_policy_lets_on_the_internet(exits: Exits) -> None:
    alice, lab = exits.alice, exits.lab
    assert "no node offers" in alice.gwctl("exit-node", "list")
    assert "no exit node berlin" in alice.gwctl("exit-node", "use", "berlin", fails=8)
    with echoing(lab, "web") as came:
        exits.allow([GRANT])
        wait_for("berlin is listed", lambda: "berlin" in alice.gwctl("exit-node", "list"), CROWDED)
        alice.gwctl("exit-node", "use", "berlin")
        until_asked(lab, "alice", WEB, patience=CROWDED)
        assert set(came) == {lab.addresses["berlin"]}
        assert not asks(lab, "alice", "10.50.0.99"), "the internet has no private addresses"
        came.clear()
        exits.allow([])
        wait_for("it says so", lambda: "go nowhere" in alice.gwctl("status"), CROWDED)
        assert not asks(lab, "alice", WEB)
        assert came == []
        alice.gwctl("exit-node", "off")
        assert asks(lab, "alice", WEB)
        assert came == [lab.addresses["alice"]]


def test_a_node_finds_its_server_by_name_although_its_exit_node_is_dead(exits: Exits) -> None:
    alice, berlin = exits.alice, exits.berlin
    exits.allow([GRANT])
    wait_for("berlin is listed", lambda: "berlin" in alice.gwctl("exit-node", "list"), CROWDED)
    alice.gwctl("exit-node", "use", "berlin")
    for node in (berlin, alice):
        node.end(signal.SIGKILL)
    exits.asked.clear()
    alice.start()
    wait_for("it finds its server", lambda: alice.status()["server"]["connected"], CROWDED)
    wait_for("and its relay", lambda: alice.home().get("connected"), CROWDED)
    assert exits.asked == [], "no question got out beside the exit node"
    berlin.start()
    with echoing(exits.lab, "web"):
        until_asked(exits.lab, "alice", WEB, patience=CROWDED)


def test_cleaning_up_after_killed_nodes_leaves_the_machine_as_it_was(exits: Exits) -> None:
    exits.allow([GRANT])
    wait_for("berlin is listed", lambda: "berlin" in exits.alice.gwctl("exit-node", "list"), CROWDED)
    exits.alice.gwctl("exit-node", "use", "berlin")
    with echoing(exits.lab, "web"):
        until_asked(exits.lab, "alice", WEB, patience=CROWDED)
    for node in (exits.alice, exits.berlin):
        assert machine(exits.lab, node.member) != exits.before[node.member]
        node.end(signal.SIGKILL)
        for said in ("remove rule", "nothing to remove"):
            done = exits.lab.run(node.member, [*node.words(), "--cleanup"])
            assert (done.returncode, said in done.stdout) == (0, True), done
            assert machine(exits.lab, node.member) == exits.before[node.member]
    for node in (exits.berlin, exits.alice):
        node.start()
    wait_for("alice is back", lambda: exits.alice.status()["state"] == "running", CROWDED)
    with echoing(exits.lab, "web") as came:
        until_asked(exits.lab, "alice", WEB, patience=CROWDED)
        assert came[-1] == exits.lab.addresses["berlin"]
        exits.alice.gwctl("down")
        assert machine(exits.lab, "alice") == exits.before["alice"]
        exits.alice.gwctl("up")
        came.clear()
        until_asked(exits.lab, "alice", WEB, patience=CROWDED)
        assert set(came) == {exits.lab.addresses["berlin"]}
