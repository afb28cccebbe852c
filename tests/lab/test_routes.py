"""Routes beyond the mesh with the real programs: a network behind two routers, and exit nodes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from lans import Conversation, Leaks, asks, echoing, lan, until_asked
from natlab import Lab
from programs import CROWDED, Mesh, Node, wait_for

SLOW = bool(os.environ.get("GHOSTWIRE_SLOW"))
slow = pytest.mark.skipif(not SLOW, reason="takes a minute: set GHOSTWIRE_SLOW=1")
both = pytest.mark.parametrize("routed", [True, False], ids=["SNAT", "no SNAT"], indirect=True)
with_snat = pytest.mark.parametrize("routed", [True], ids=["SNAT"], indirect=True)
without_snat = pytest.mark.parametrize("routed", [False], ids=["no SNAT"], indirect=True)

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
        self.lab, self.snat = lab, snat
        self.mesh = Mesh(lab, folder, "alice", "berlin", "hamburg")
        for name in ("berlin", "hamburg"):
            self.mesh.nodes[name] = Node(lab, name, folder, f"[node]\nsnat = {str(snat).lower()}\n")
        self.alice, self.berlin, self.hamburg = (self.mesh[name] for name in ("alice", "berlin", "hamburg"))
        self.mesh.start("alice", "berlin", "hamburg")

    def offer(self, *prefixes: str) -> None:
        """Both routers offer these, berlin first, and the administrator approves them."""
        wanted = len(prefixes) + ("exit" in prefixes)
        for router in (self.berlin, self.hamburg):
            for prefix in prefixes:
                router.api.post("/v1/routes/advertise", {"prefix": prefix})
            wait_for(f"{router.member} offers them", lambda router=router: self._listed(router) == wanted)  # type: ignore[misc]
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

    def pair(self) -> tuple[Node, Node]:
        """The router that packets go through, and the other one, once that can take over."""
        routers = [self.berlin, self.hamburg]
        wait_for(
            "one is in use, and one is fit to be",
            lambda: {self.state(each) for each in routers} in ({"in use", "standby"}, {"in use", "recovering"}),
            CROWDED,
        )
        routers.sort(key=lambda each: self.state(each) != "in use")
        return routers[0], routers[1]

    def answer_by(self, router: Node) -> None:
        """The host's way to the mesh leads by this router from now on, as with a virtual router address."""
        number = self.number(router)
        self.lab.ip("printer", f"route replace 100.64.0.0/10 via 10.70.0.{number}")
        mesh6 = self.alice.address(6).split(":")[:3]
        self.lab.ip("printer", f"route replace {':'.join(mesh6)}::/48 via fd70::{number}")

    def plug(self, router: Node, state: str) -> None:
        """Plug its cable to the host's switch in (up) or pull it (down)."""
        self.lab.ip("printer", f"link set p{self.number(router)} {state}")

    def number(self, router: Node) -> int:
        return 1 if router is self.berlin else 2


@pytest.fixture(scope="module", params=[True, False], ids=["SNAT", "no SNAT"])
def routed(tun: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    """One mesh for many tests: who breaks something mends it."""
    with Lab() as lab:
        made = Routed(tmp_path_factory.mktemp("routed"), lab, snat=request.param)
        made.offer(*NETS, "exit")
        made.answer_by(made.berlin)
        wait_for("alice knows both", lambda: made.state(made.hamburg, NETS[1]) == "standby", CROWDED)
        yield made


@both
def test_a_host_behind_a_router_is_reached_over_both_families(routed: Routed) -> None:
    with echoing(routed.lab, "printer") as came:
        for host in (routed.host, routed.host6):
            until_asked(routed.lab, "alice", host, patience=CROWDED)
        own = {routed.alice.address(4), routed.alice.address(6)}
        assert set(came) == ({"10.70.0.1", "fd70::1"} if routed.snat else own)
    assert "in use" in routed.alice.gwctl("route", "list")
    assert "approved" in routed.berlin.gwctl("route", "list")


class Loss(NamedTuple):
    """What befalls a router, and what mends it."""

    lose: Callable[[Routed, Node], object]
    mend: Callable[[Routed, Node], object]


def cut(routed: Routed, router: Node) -> None:
    """Nothing passes between it and the internet any more, and its link does not show it."""
    v4, v6 = routed.lab.outside[router.member]
    drops = "\n".join(f"{field} {address} drop" for address in (v4, v6) for field in _ends(address))
    rules = f"table bridge cut {{\nchain forward {{\ntype filter hook forward priority 0\n{drops}\n}}\n}}\n"
    assert routed.lab.run("inet", ["nft", "-f", "-"], input=rules).returncode == 0


def _ends(address: str) -> tuple[str, str]:
    protocol = "ip6" if ":" in address else "ip"
    return f"{protocol} saddr", f"{protocol} daddr"


def join(routed: Routed, router: Node) -> None:
    assert routed.lab.run("inet", ["nft", "delete", "table", "bridge", "cut"]).returncode == 0


LOSSES = {
    "its program": Loss(lambda routed, router: router.end(signal.SIGKILL), lambda routed, router: router.start()),
    "its path": Loss(cut, join),
    "its network": Loss(
        lambda routed, router: routed.plug(router, "down"), lambda routed, router: routed.plug(router, "up")
    ),
}


@pytest.mark.parametrize("lost", LOSSES)
@both
def test_another_router_takes_over_within_ten_seconds(routed: Routed, lost: str, record_property: Record) -> None:
    if routed.snat and not SLOW:
        pytest.skip("takes half a minute: set GHOSTWIRE_SLOW=1")
    with echoing(routed.lab, "printer"):
        failing, other = routed.pair()
        routed.answer_by(failing)
        until_asked(routed.lab, "alice", routed.host, patience=CROWDED)
        try:
            with Conversation(routed.lab, "alice", routed.host) as talk:
                wait_for("they talk", lambda: talk.answered > 5)
                began = time.monotonic()
                LOSSES[lost].lose(routed, failing)
                routed.answer_by(other)
                until_asked(routed.lab, "alice", routed.host)
                took, before = time.monotonic() - began, talk.answered
                if not routed.snat:
                    wait_for("the session goes on", lambda: talk.answered > before + 5 or talk.error, CROWDED)
                after = talk.answered
            assert routed.state(other) == "in use"
        finally:
            LOSSES[lost].mend(routed, failing)
    kept = f"kept, silent for {talk.gap:.1f} s" if not routed.snat else "lost: the host knew the first router's address"
    row = {"lost": lost, "SNAT": routed.snat, "switched after s": round(took, 1), "TCP session": kept}
    record_property("table fail-over between routers", row)
    assert took < 10
    assert (after > before + 5) is not routed.snat


@slow
@without_snat
def test_packets_go_back_to_the_first_router_once_it_was_well_for_half_a_minute(
    routed: Routed, record_property: Record
) -> None:
    with echoing(routed.lab, "printer"):
        failing, other = routed.pair()
        routed.answer_by(failing)
        failing.end(signal.SIGKILL)
        routed.answer_by(other)
        until_asked(routed.lab, "alice", routed.host)
        failing.start()
        wait_for("it is seen", lambda: routed.state(failing) == "recovering", CROWDED)
        began, lost = time.monotonic(), 0
        with Conversation(routed.lab, "alice", routed.host) as talk:
            while routed.state(routed.berlin) != "in use":
                lost += not asks(routed.lab, "alice", routed.host, timeout=0.5)
                assert time.monotonic() - began < 2 * CROWDED
            took, before = time.monotonic() - began, talk.answered
            routed.answer_by(routed.berlin)
            wait_for("the session goes on", lambda: talk.answered > before + 5 or talk.error)
        row = {"after s": round(took, 1), "lost": lost, "TCP session": f"kept, silent for {talk.gap:.1f} s"}
        record_property("table back to the first router", row)
        assert took > 25
        assert (lost, talk.error) == (0, "")


@with_snat
def test_an_exit_node_carries_everything_and_nothing_leaks_while_switching(routed: Routed) -> None:
    alice, lab = routed.alice, routed.lab
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
            routed.hamburg.end(signal.SIGKILL)
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
        near(routed, came)
        alice.gwctl("exit-node", "off")
        assert asks(lab, "alice", WEB)
        assert came[-1] == lab.addresses["alice"]
    routed.hamburg.start()


def near(routed: Routed, came: list[str]) -> None:
    """The web's host is in alice's own network too: only with ``--lan``, which stays said, is it reached directly."""
    alice, lab = routed.alice, routed.lab
    for words, source in ((["--lan"], "alice"), ([], "alice"), (["--no-lan"], "berlin")):
        alice.gwctl("exit-node", "use", "berlin", *words)
        until_asked(lab, "alice", WEB, patience=CROWDED)
        assert came[-1] == lab.addresses[source], words


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


@without_snat
def test_killed_nodes_find_their_routes_again(routed: Routed) -> None:
    with echoing(routed.lab, "printer"):
        until_asked(routed.lab, "alice", routed.host, patience=CROWDED)
        for node in (routed.alice, routed.berlin):
            node.end(signal.SIGKILL)
            node.start()
        until_asked(routed.lab, "alice", routed.host, patience=CROWDED)
        until_asked(routed.lab, "alice", routed.host6, patience=CROWDED)
