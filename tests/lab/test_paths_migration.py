"""A TCP transfer between nodes behind routers goes on, whatever happens to its path; interruptions are measured."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import mishaps
import pytest
from gaps import Flow, OneWay, Questions, RelayedShare, Stream, bytes_in
from natlab import Lab
from programs import Mesh, Node, Relay, wait_for

RELAYS = ("near", "control")
HERE, THERE, BYSTANDER = "home1", "office1", "pub1"
PORT = 443
RELAYED_GAP, DIRECT_AGAIN = 2.5, 30.0
"""Seconds that a transfer may stand still when its direct path dies, and until it is direct again once that can be."""
HICCUP, MOVED_GAP, RELAY_GAP = 0.5, 5.0, 15.0
"""Seconds it may stand still when a better path is taken, when a router or address changes, when its relay dies."""
PATIENCE = 45.0
SILENT_DATAGRAMS = 1000
"""Ten seconds of one-way traffic and more: longer than a path is trusted without an answer."""
pytestmark = pytest.mark.usefixtures("tun")
MIDDLEBOXES = {"WireGuard": mishaps.WIREGUARD, "WireGuard's data": mishaps.WIREGUARD_DATA}
TABLE = "table A TCP transfer while its path changes"
Row = dict[str, str]


class Story:
    """A mesh whose nodes, behind a router each, send over a relay near them, or over the server's own farther away."""

    def __init__(self, lab: Lab, folder: Any) -> None:
        lab.host("control", "10.50.0.1", wire=True)
        lab.host("near", "10.50.0.31")
        lab.site("home", "port_restricted")
        lab.site("office", "port_restricted")
        lab.site("cafe", "port_restricted", clients=0)
        lab.site("pub", "none")
        self.lab, self.mesh = lab, Mesh(lab, folder, HERE, THERE, BYSTANDER, port=PORT)
        lab.impair("control", delay=15)
        self.mesh.start_server()
        self.near: Relay = self.mesh.relay("near", "near", PORT)
        self.mesh.enrol(HERE, THERE, BYSTANDER)
        self.nodes = (self.mesh[HERE], self.mesh[THERE])
        self.broken = 0
        self.began = time.monotonic()
        wait_for("both can be reached", lambda: self.nodes[0].can_ping(self.nodes[1].address()))
        self.stream = Stream(*self.nodes).__enter__()

    def paths(self) -> tuple[str, str]:
        """How each of the two sends to the other."""
        here, there = self.nodes
        return _path(here, there), _path(there, here)

    def are(self, kind: str) -> bool:
        """Whether the paths of both are of this kind: ``direct`` or ``relay``."""
        self.stream.check()
        return all(path.startswith(kind) for path in self.paths())

    def at_home(self, *relays: str) -> bool:
        """Whether both are at home at one of these relays, and connected to it."""
        homes = [node.home() for node in self.nodes]
        return all(home.get("connected", False) is True and home["relay"] in relays for home in homes)

    def direct(self) -> None:
        """Wait for where every test begins: both send directly, and nothing passes through a relay."""
        if self.stream.failed:
            self.broken += 1
            self.stream.close()
            self.stream = Stream(*self.nodes).__enter__()
        wait_for("both are direct before anything happens", lambda: self.are("direct"), PATIENCE)
        wait_for("both are at home nearby", lambda: self.at_home("near"), PATIENCE)
        self.stream.goes_on()


class Event:
    """Something that happens now to the flow; ``row`` is what came of it, for the table at the end of the run."""

    def __init__(self, story: Story, record: Callable[[Row], None], what: str, flow: Flow | None = None) -> None:
        self._story, self._record, self._flow = story, record, flow or story.stream
        self.row: Row = {"event": what, "gap ms": "", "all gaps ms": "", "settled s": "", "before": _both(story)}
        self._flow.goes_on()
        self._began = time.monotonic()

    def leads_to(self, kind: str, *, within: float, gap: float) -> None:
        """Wait until both say that their path is such, and the transfer is seen to take it; it never stood still for
        longer than ``gap``."""
        try:
            share = RelayedShare(self._story.lab, self._story.stream, *RELAYS)
            wait_for(f"{self.row['event']}: {kind}", lambda: self._is(kind, share.now()), within)
            self.row["settled s"] = f"{time.monotonic() - self._began:.2f}"
            self._flow.goes_on()
        finally:
            self._measure()
        longest = self._flow.gap(self._began)
        assert longest < gap, f"{self.row['event']}: the transfer stood still for {longest:.2f} s, {gap} s are allowed"

    def _is(self, kind: str, relayed: float | None) -> bool:
        return relayed is not None and (relayed > 0.5) is kind.startswith("relay") and self._story.are(kind)

    def _measure(self) -> None:
        self.row["gap ms"] = f"{1000 * self._flow.gap(self._began):.0f}"
        self.row["all gaps ms"] = f"{1000 * self._flow.stalled(self._began):.0f}"
        self.row["after"] = _both(self._story)
        self._record(self.row)


def _path(here: Node, there: Node) -> str:
    path = here.peer(there.member)["path"]
    if path is None:
        return "none"
    return f"relay {path['relay']}" if path["relayed"] else f"direct {path['endpoint']}"


def _both(story: Story) -> str:
    return " / ".join(dict.fromkeys(path.split(" 10.")[0] for path in story.paths()))


@pytest.fixture(scope="module")
def told(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    story = Story(make_lab(), tmp_path_factory.mktemp("migration"))
    yield story
    story.stream.close()


@pytest.fixture
def story(told: Story) -> Story:
    """Both nodes send directly, and the transfer flows."""
    told.direct()
    return told


@pytest.fixture
def event(story: Story, record_property: Callable[[str, object], None]) -> Callable[..., Event]:
    """Say that something happens now."""

    def happens(what: str, flow: Flow | None = None) -> Event:
        return Event(story, lambda row: record_property(TABLE, row), what, flow)

    return happens


def test_a_cut_of_udp_leads_to_the_relay_and_its_end_back(story: Story, event: Callable[..., Event]) -> None:
    cut = event("UDP is cut")
    with mishaps.dropping(story.lab, "home", mishaps.UDP):
        cut.leads_to("relay", within=PATIENCE, gap=RELAYED_GAP)
        back = event("UDP comes back")
    back.leads_to("direct", within=DIRECT_AGAIN, gap=HICCUP)


def test_requests_and_responses_outlive_a_cut_as_a_stream_does(story: Story, event: Callable[..., Event]) -> None:
    with Questions(*story.nodes) as questions:
        cut = event("UDP is cut: requests", questions)
        with mishaps.dropping(story.lab, "home", mishaps.UDP):
            cut.leads_to("relay", within=PATIENCE, gap=RELAYED_GAP)
            back = event("UDP comes back: requests", questions)
        back.leads_to("direct", within=DIRECT_AGAIN, gap=HICCUP)
    questions.check()
    assert questions.whole()


@pytest.mark.parametrize("way", ["inwards", "outwards"])
def test_a_cut_of_one_direction_leads_to_the_relay(story: Story, event: Callable[..., Event], way: str) -> None:
    cut = event(f"UDP is cut {way} at the sender's")
    with mishaps.dropping(story.lab, "home", mishaps.INWARD if way == "inwards" else mishaps.OUTWARD):
        cut.leads_to("relay", within=PATIENCE, gap=MOVED_GAP)
        back = event(f"UDP comes back {way}")
    back.leads_to("direct", within=DIRECT_AGAIN, gap=HICCUP)


def test_a_router_that_reboots_and_maps_to_another_port_is_survived(story: Story, event: Callable[..., Event]) -> None:
    before = story.paths()[1]
    for when, port in (("", 45000), (" again", None)):
        reboot = event(f"the sender's router reboots{when}")
        mishaps.reboot(story.lab, "home", port)
        seen = f":{port}" if port else before
        wait_for("the other sees the new mapping", lambda seen=seen: story.paths()[1].endswith(seen), PATIENCE)
        reboot.leads_to("direct", within=DIRECT_AGAIN, gap=MOVED_GAP)


def test_another_address_in_the_lan_is_survived(story: Story, event: Callable[..., Event]) -> None:
    number = story.lab.addresses[HERE].split(".")[2]
    renumbered = event("the sender's address changes")
    mishaps.renumber(story.lab, HERE, f"10.60.{number}.77")
    renumbered.leads_to("direct", within=DIRECT_AGAIN, gap=MOVED_GAP)


def test_a_move_to_another_network_is_survived(story: Story, event: Callable[..., Event]) -> None:
    for old, new, address in (("home", "cafe", "10.60.3.2"), ("cafe", "home", "10.60.1.2")):
        moved = event(f"the sender moves to the {new}")
        mishaps.replug(story.lab, "c1", old, new)
        mishaps.renumber(story.lab, HERE, address)
        seen = "direct " + address.replace("10.60.", "10.50.1.").rpartition(".")[0]
        wait_for("the other sees where it is", lambda seen=seen: story.paths()[1].startswith(f"{seen}:"), PATIENCE)
        moved.leads_to("direct", within=DIRECT_AGAIN, gap=MOVED_GAP)


def test_the_death_of_the_home_relay_is_survived(story: Story, event: Callable[..., Event]) -> None:
    with mishaps.dropping(story.lab, "home", mishaps.UDP):
        wait_for("both use the relay nearby", lambda: story.are("relay near"), PATIENCE)
        death = event("the home relay is killed")
        story.near.end(signal.SIGKILL)
        try:
            death.leads_to("relay embedded", within=PATIENCE, gap=RELAY_GAP)
        finally:
            story.near.start()


def test_a_router_that_becomes_symmetric_leads_to_the_relay_and_back(story: Story, event: Callable[..., Event]) -> None:
    harder = event("the NAT becomes symmetric")
    mishaps.switch_nat(story.lab, "home", "symmetric")
    harder.leads_to("relay", within=PATIENCE, gap=MOVED_GAP)
    easier = event("the NAT is port-restricted again")
    mishaps.switch_nat(story.lab, "home", "port_restricted")
    easier.leads_to("direct", within=PATIENCE, gap=MOVED_GAP)


@pytest.mark.parametrize("dropped", ["WireGuard", "WireGuard's data"])
def test_a_middlebox_that_passes_disco_alone_does_not_hold_the_path(
    story: Story, event: Callable[..., Event], dropped: str
) -> None:
    middlebox = event(f"{dropped} is dropped, disco is not")
    with mishaps.dropping(story.lab, "home", MIDDLEBOXES[dropped]):
        middlebox.leads_to("relay", within=PATIENCE, gap=MOVED_GAP)


def test_traffic_that_nothing_answers_does_not_lose_its_direct_path(story: Story) -> None:
    source, target = story.nodes[0], story.mesh[BYSTANDER]
    wait_for("the bystander is direct", lambda: source.reaches(target, relayed=False), PATIENCE)
    with OneWay(source, target) as traffic:
        before, seen = bytes_in(story.lab, *RELAYS), set()

        def there() -> bool:
            seen.add(_path(source, target).split()[0])
            return bool(traffic.arrived >= SILENT_DATAGRAMS)

        wait_for(f"{SILENT_DATAGRAMS} datagrams arrived", there, PATIENCE)
        relayed = bytes_in(story.lab, *RELAYS) - before
    assert seen == {"direct"}
    assert relayed < 100 * SILENT_DATAGRAMS  # a tenth of it


def test_the_whole_transfer_arrived_unchanged_on_one_connection(
    told: Story, record_property: Callable[[str, object], None]
) -> None:
    seconds = time.monotonic() - told.began
    told.stream.goes_on()
    told.stream.close()
    told.stream.check()
    what = f"{told.stream.received >> 20} MiB in {seconds:.0f} s on {1 + told.broken} connection(s)"
    record_property(TABLE, {"event": what})
    assert told.stream.whole()
    assert not told.broken
