"""A TCP transfer between nodes behind routers goes on, whatever happens to its path; interruptions are measured."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mishaps
import pytest
from events import Event, Pair, path
from gaps import Flow, OneWay, Questions, bytes_in
from natlab import Lab
from programs import Mesh, wait_for

HERE, THERE, BYSTANDER = "home1", "office1", "pub1"
RELAYS = ("near", "control")
PORT = 443
RELAYED_GAP, DIRECT_AGAIN = 2.5, 30.0
"""Seconds that a transfer may stand still when its direct path dies, and until it is direct again once that can be."""
HICCUP, MOVED_GAP, RELAY_GAP = 0.5, 5.0, 10.0
"""Seconds it may stand still when a better path is taken, when a router or address changes, when its relay dies."""
PATIENCE = 30.0
SILENT_DATAGRAMS = 1000
"""Ten seconds of one-way traffic and more: longer than a path is trusted without an answer."""
MIDDLEBOXES = {"WireGuard": mishaps.WIREGUARD, "WireGuard's data": mishaps.WIREGUARD_DATA}
QUIC = "#"
"""In an endpoint of the quic transport; it reaches a node that no NAT hides."""
TABLE = "table A TCP transfer while its path changes"
pytestmark = pytest.mark.usefixtures("tun")
Happens = Callable[..., Event]


class Story:
    """A mesh whose nodes are behind a router each, a relay near them, and the server with its own farther away."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        lab.host("control", "10.50.0.1", wire=True)
        lab.host("near", "10.50.0.31")
        lab.site("home", "port_restricted")
        lab.site("office", "port_restricted")
        lab.site("cafe", "port_restricted", clients=0)
        lab.site("pub", "none")
        self.lab, self.mesh = lab, Mesh(lab, folder, HERE, THERE, BYSTANDER, port=PORT)
        lab.impair("control", delay=15)
        self.mesh.start_server()
        self.near = self.mesh.relay("near", "near", PORT)
        self.mesh.enrol(HERE, THERE, BYSTANDER)
        self.pair = self.pair_with(THERE)
        self.began = time.monotonic()

    def pair_with(self, there: str) -> Pair:
        """The node behind the router that much happens to, and another."""
        return Pair(self.mesh[HERE], self.mesh[there], *RELAYS)


@pytest.fixture(scope="module")
def told(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    story = Story(make_lab(), tmp_path_factory.mktemp("migration"))
    yield story
    story.pair.close()


@pytest.fixture
def story(told: Story) -> Story:
    """Both nodes send directly, and the transfer flows."""
    told.pair.direct(PATIENCE)
    return told


@pytest.fixture
def event(told: Story, record_property: Callable[[str, object], None]) -> Happens:
    """Say that something happens now."""

    def happens(what: str, pair: Pair | None = None, flow: Flow | None = None) -> Event:
        return Event(pair or told.pair, lambda row: record_property(TABLE, row), what, flow)

    return happens


def test_a_cut_of_udp_leads_to_the_relay_and_its_end_back(story: Story, event: Happens) -> None:
    with Questions(story.pair.here, story.pair.there) as questions:
        cuts = event("UDP is cut"), event("UDP is cut: requests", flow=questions)
        with mishaps.dropping(story.lab, "home", mishaps.UDP):
            for cut in cuts:
                cut.leads_to("relay", within=PATIENCE, gap=RELAYED_GAP)
            backs = event("UDP comes back"), event("UDP comes back: requests", flow=questions)
        for back in backs:
            back.leads_to("direct", within=DIRECT_AGAIN, gap=HICCUP)
    questions.check()
    assert questions.whole()


@pytest.mark.parametrize("way", ["inwards", "outwards"])
def test_a_cut_of_one_direction_leads_to_the_relay(story: Story, event: Happens, way: str) -> None:
    cut = event(f"UDP is cut {way} at the sender's")
    with mishaps.dropping(story.lab, "home", mishaps.INWARD if way == "inwards" else mishaps.OUTWARD):
        cut.leads_to("relay", within=PATIENCE, gap=RELAYED_GAP)
        back = event(f"UDP comes back {way}")
    back.leads_to("direct", within=DIRECT_AGAIN, gap=HICCUP)


def test_a_router_that_reboots_and_maps_to_another_port_is_survived(story: Story, event: Happens) -> None:
    mapped = story.pair.paths()[1].rpartition(":")[2]
    for what, port, seen in (("reboots", 45000, ":45000"), ("reboots again", None, f":{mapped}")):
        reboot = event(f"the sender's router {what}")
        mishaps.reboot(story.lab, "home", port)
        reboot.leads_to("direct", seen=seen, within=DIRECT_AGAIN, gap=MOVED_GAP)


@pytest.mark.parametrize(("node", "whose"), [(HERE, "sender's"), (THERE, "receiver's")])
def test_another_address_in_the_lan_is_survived(story: Story, event: Happens, node: str, whose: str) -> None:
    network = story.lab.addresses[node].rpartition(".")[0]
    renumbered = event(f"the {whose} address changes")
    mishaps.renumber(story.lab, node, f"{network}.77")
    renumbered.leads_to("direct", within=DIRECT_AGAIN, gap=MOVED_GAP)


def test_a_move_to_another_network_is_survived(story: Story, event: Happens) -> None:
    for old, new, address, outside in (
        ("home", "cafe", "10.60.3.2", "10.50.1.3"),
        ("cafe", "home", "10.60.1.2", "10.50.1.1"),
    ):
        moved = event(f"the sender moves to the {new}")
        mishaps.replug(story.lab, "c1", old, new)
        mishaps.renumber(story.lab, HERE, address)
        moved.leads_to("direct", seen=f"{outside}:", within=DIRECT_AGAIN, gap=MOVED_GAP)


def test_a_router_that_becomes_symmetric_leads_to_the_relay_and_back(story: Story, event: Happens) -> None:
    harder = event("the NAT becomes symmetric")
    mishaps.switch_nat(story.lab, "home", "symmetric")
    harder.leads_to("relay", within=PATIENCE, gap=MOVED_GAP)
    easier = event("the NAT is port-restricted again")
    mishaps.switch_nat(story.lab, "home", "port_restricted")
    easier.leads_to("direct", within=DIRECT_AGAIN, gap=MOVED_GAP)


def test_a_relayed_transfer_survives_another_address_and_the_death_of_the_home_relay(
    story: Story, event: Happens
) -> None:
    pair, network = story.pair, story.lab.addresses[HERE].rpartition(".")[0]
    with mishaps.dropping(story.lab, "home", mishaps.UDP):
        wait_for("both use the home nearby", lambda: pair.at_home("near") and pair.are("relay near"), PATIENCE)
        renumbered = event("the relayed sender's address changes")
        mishaps.renumber(story.lab, HERE, f"{network}.88")
        renumbered.leads_to("relay near", within=PATIENCE, gap=RELAY_GAP)
        death = event("the home relay is killed")
        story.near.end(signal.SIGKILL)
        try:
            death.leads_to("relay embedded", within=PATIENCE, gap=RELAY_GAP)
        finally:
            story.near.start()
        back = event("UDP comes back after a while")
    back.leads_to("direct", within=DIRECT_AGAIN, gap=HICCUP)


def test_traffic_that_nothing_answers_does_not_lose_its_direct_path(story: Story) -> None:
    source, target = story.mesh[HERE], story.mesh[BYSTANDER]
    wait_for("the bystander is direct", lambda: source.reaches(target, relayed=False), PATIENCE)
    with OneWay(source, target) as traffic:
        before, seen = bytes_in(story.lab, *RELAYS), set()

        def there() -> bool:
            seen.add(path(source, target).split()[0])
            return bool(traffic.arrived >= SILENT_DATAGRAMS)

        wait_for(f"{SILENT_DATAGRAMS} datagrams arrived", there, PATIENCE)
        relayed = bytes_in(story.lab, *RELAYS) - before
    assert seen == {"direct"}
    assert relayed < SILENT_DATAGRAMS * OneWay.size / 2  # what is sent over both, while it is tested what carries


@pytest.mark.parametrize(
    ("there", "dropped", "kind", "seen"),
    [(THERE, "WireGuard", "relay", ""), (BYSTANDER, "WireGuard's data", "direct", QUIC)],
)
def test_a_middlebox_that_passes_disco_alone_does_not_hold_the_path(
    told: Story, event: Happens, there: str, dropped: str, kind: str, seen: str
) -> None:
    pair = told.pair if there == THERE else told.pair_with(there)
    pair.direct(PATIENCE)
    middlebox = event(f"{dropped} is dropped, disco is not", pair)
    with mishaps.dropping(told.lab, "home", MIDDLEBOXES[dropped]):
        middlebox.leads_to(kind, seen=seen, within=PATIENCE, gap=MOVED_GAP)
    if pair is not told.pair:
        pair.close()


def test_the_whole_transfer_arrived_unchanged_on_one_connection(
    told: Story, record_property: Callable[[str, object], None]
) -> None:
    stream, seconds = told.pair.stream, time.monotonic() - told.began
    stream.goes_on()
    stream.close()
    stream.check()
    what = f"{stream.received >> 20} MiB in {seconds:.0f} s on {1 + told.pair.broken} connection(s)"
    record_property(TABLE, {"event": what})
    assert stream.whole()
    assert not told.pair.broken
