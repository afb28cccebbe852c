"""Routes beyond the mesh with the real programs: a network behind two routers, and exit nodes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lans import Conversation, Leaks, asks, echoing, lan, until_asked
from natlab import Lab
from programs import CROWDED, Mesh, Node, wait_for

pytestmark = pytest.mark.usefixtures("tun")

NETS = ("10.70.0.0/24", "fd70::/64")
WEB, WEB6 = "10.50.0.99", "fd50::99"
Record = Callable[[str, object], None]


class Routed:
    """A mesh of alice and the routers berlin and hamburg, which share a network in which the host printer is."""

    def __init__(self, folder: Path, lab: Lab, *, snat: bool) -> None:
        for number, name in enumerate(("alice", "berlin", "hamburg"), 11):
            lab.host(name, f"10.50.0.{number}", v6=f"fd50::{number}")
        lab.host("web", WEB, v6=WEB6)
        self.host, self.host6 = lan(lab, "printer", "berlin", "hamburg")
        self.lab = lab
        self.mesh = Mesh(lab, folder, "alice", "berlin", "hamburg")
        for name in ("berlin", "hamburg"):
            self.mesh.nodes[name] = Node(lab, name, folder, f"[node]\nsnat = {str(snat).lower()}\n")
        self.alice, self.berlin, self.hamburg = (self.mesh[name] for name in ("alice", "berlin", "hamburg"))
        self.mesh.start("alice", "berlin", "hamburg")

    def offer(self, *prefixes: str) -> None:
        """Both routers offer these, berlin first, and the administrator approves them."""
        for router in (self.berlin, self.hamburg):
            for prefix in prefixes:
                router.gwctl("route", "advertise", prefix)
            wait_for(f"{router.member} offers them", lambda router=router: self._listed(router) >= len(prefixes))  # type: ignore[misc]
            offered = [each["id"] for each in self._routes(router)]
            for id_ in offered:
                self.mesh.server.api.post(f"/api/v1/routes/{id_}/approve")

    def _routes(self, router: Node) -> list[dict[str, object]]:
        listed = self.mesh.server.api.get("/api/v1/routes")["routes"]
        return [each for each in listed if each["node"]["name"] == router.member]

    def _listed(self, router: Node) -> int:
        return len(self._routes(router))

    def state(self, router: Node, prefix: str = NETS[0]) -> str:
        """What becomes of a router's route at alice."""
        routes = self.alice.api.get("/v1/routes")["routes"]
        shown = [each["state"] for each in routes if (each["router"], each["prefix"]) == (router.member, prefix)]
        return shown[0] if shown else ""

    def answer_by(self, number: int) -> None:
        """The host's way to the mesh leads by this router from now on, as with a virtual router address."""
        self.lab.ip("printer", f"route replace 100.64.0.0/10 via 10.70.0.{number}")
        mesh6 = self.alice.address(6).split(":")[:3]
        self.lab.ip("printer", f"route replace {':'.join(mesh6)}::/48 via fd70::{number}")


@pytest.fixture(params=[True, False], ids=["SNAT", "no SNAT"])
def routed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Routed]:
    with Lab() as lab:
        made = Routed(tmp_path, lab, snat=request.param)
        made.offer(*NETS)
        if not request.param:
            made.answer_by(1)
        wait_for("alice knows both", lambda: made.state(made.hamburg, NETS[1]) == "standby", CROWDED)
        yield made


@pytest.fixture
def exits(tmp_path: Path) -> Iterator[Routed]:
    with Lab() as lab:
        made = Routed(tmp_path, lab, snat=True)
        made.offer("exit")
        wait_for("alice knows both", lambda: len(made.alice.api.get("/v1/exit-nodes")["exit_nodes"]) == 2, CROWDED)
        yield made


def test_a_host_behind_a_router_is_reached_over_both_families(routed: Routed, request: pytest.FixtureRequest) -> None:
    with echoing(routed.lab, "printer") as came:
        for host in (routed.host, routed.host6):
            until_asked(routed.lab, "alice", host, patience=CROWDED)
        snat = request.node.callspec.params["routed"]
        sources = {routed.alice.address(4), routed.alice.address(6)} if not snat else {"10.70.0.1", "fd70::1"}
        assert set(came) == sources
    assert "in use" in routed.alice.gwctl("route", "list")
    assert "approved" in routed.berlin.gwctl("route", "list")


def lose_program(routed: Routed) -> None:
    routed.berlin.end(signal.SIGKILL)


def lose_path(routed: Routed) -> None:
    routed.lab.ip("berlin", "link set eth0 down")


def lose_lan(routed: Routed) -> None:
    routed.lab.ip("printer", "link set p1 down")


@pytest.mark.parametrize("lost", [lose_program, lose_path, lose_lan], ids=["its program", "its path", "its network"])
def test_another_router_takes_over_within_ten_seconds(
    routed: Routed, lost: Callable[[Routed], None], request: pytest.FixtureRequest, record_property: Record
) -> None:
    snat = request.node.callspec.params["routed"]
    with echoing(routed.lab, "printer"):
        until_asked(routed.lab, "alice", routed.host, patience=CROWDED)
        with Conversation(routed.lab, "alice", routed.host) as talk:
            wait_for("they talk", lambda: talk.answered > 5)
            began = time.monotonic()
            lost(routed)
            if not snat:
                routed.answer_by(2)
            until_asked(routed.lab, "alice", routed.host)
            took = time.monotonic() - began
            before = talk.answered
            if not snat:
                wait_for("the session goes on", lambda: talk.answered > before + 5 or talk.error, CROWDED)
        row = {"lost": lost.__name__, "SNAT": snat, "switched after s": round(took, 1)}
        row["TCP session"] = (
            f"kept, silent for {talk.gap:.1f} s" if not snat else "lost: the host knew berlin's address"
        )
        record_property("table fail-over between routers", row)
        assert took < 10
        if not snat:
            assert talk.error == ""
    assert routed.state(routed.hamburg) == "in use"


def test_an_exit_node_carries_everything_and_nothing_leaks_while_switching(exits: Routed) -> None:
    alice, lab = exits.alice, exits.lab
    with echoing(lab, "web") as came:
        assert asks(lab, "alice", WEB)
        assert came[-1] == lab.addresses["alice"]
        assert "berlin" in alice.gwctl("exit-node", "list")
        assert alice.gwctl("exit-node", "suggest").split()[0] in ("berlin", "hamburg")
        alice.gwctl("exit-node", "use", "berlin")
        with Leaks(lab, "alice", (WEB, WEB6)) as leaks, Asking(lab, WEB), Asking(lab, WEB6):
            came.clear()
            for web in (WEB, WEB6):
                until_asked(lab, "alice", web, patience=CROWDED)
            alice.gwctl("exit-node", "use", "hamburg")
            wait_for("hamburg carries it", lambda: lab.addresses["hamburg"] in came, CROWDED)
            exits.hamburg.end(signal.SIGKILL)
            time.sleep(1)
            came.clear()
            assert not asks(lab, "alice", WEB, timeout=3)
            alice.end(signal.SIGKILL)
            assert not asks(lab, "alice", WEB)
            alice.start()
            wait_for("alice is up", lambda: alice.status()["state"] == "running", CROWDED)
            assert not asks(lab, "alice", WEB)
            assert set(came) == set()
            wait_for("it says so", lambda: "go nowhere" in alice.gwctl("status"), CROWDED)
            alice.gwctl("exit-node", "use", "berlin")
            until_asked(lab, "alice", WEB, patience=CROWDED)
            assert set(came) <= {lab.addresses["berlin"], "fd50::12"}
        assert leaks.seen == []
        alice.gwctl("exit-node", "off")
        assert asks(lab, "alice", WEB)
        assert came[-1] == lab.addresses["alice"]


class Asking:
    """Somebody asks an echo all the time, whatever comes of it, from entering to leaving."""

    def __init__(self, lab: Lab, address: str) -> None:
        words = "while :; do echo x > /dev/udp/$0/7007; sleep 0.02; done"
        self._process = lab.popen("alice", ["bash", "-c", words, address], stderr=-3)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()


def test_killed_nodes_find_their_routes_again(routed: Routed) -> None:
    with echoing(routed.lab, "printer"):
        until_asked(routed.lab, "alice", routed.host, patience=CROWDED)
        for node in (routed.alice, routed.berlin):
            node.end(signal.SIGKILL)
            node.start()
        until_asked(routed.lab, "alice", routed.host, patience=CROWDED)
        until_asked(routed.lab, "alice", routed.host6, patience=CROWDED)
