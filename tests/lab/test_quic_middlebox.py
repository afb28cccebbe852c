"""Real daemons behind a router that drops WireGuard and passes disco: a stream goes on over QUIC, and back over UDP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mishaps
import pytest
from events import Pair
from natlab import Lab
from programs import CROWDED, Mesh, Node, wait_for

HERE, THERE = "home1", "pub1"
QUIC_PORT = 41642
ALL_OTHER_UDP = f"{mishaps.UDP} udp dport != {QUIC_PORT} udp sport != {QUIC_PORT}"
FILTERS = {
    "WireGuard": (mishaps.WIREGUARD, "relay", 60.0),
    "WireGuard, no relay": (mishaps.WIREGUARD, "alone", 10.0),
    "all UDP but QUIC's port": (ALL_OTHER_UDP, "relay", 10.0),
    "all UDP but QUIC's port, no relay": (ALL_OTHER_UDP, "alone", 10.0),
}
"""What is dropped, with a relay or without, and for how many seconds: the first time UDP is tried in vain meanwhile."""
MOVES, BACK = 15.0, 60.0
"""Seconds until QUIC carries everything, and until UDP does again when the filter is gone."""
GAPS = {"relay": 3.0, "alone": 6.0}
"""Seconds that the transfer may stand still when the filter comes, with a relay that helps and without."""
HICCUP = 1.0
"""The same while QUIC carries it, and when the filter goes."""
TABLE = "table A TCP transfer while a middlebox drops what is not QUIC"
pytestmark = [pytest.mark.usefixtures("tun"), pytest.mark.timeout(240)]


def transport(here: Node, there: Node) -> str:
    """Over what a node sends to another."""
    path = here.peer(there.member)["path"]
    return "none" if path is None else str(path["transport"])


class Story:
    """A node behind a router and a public one, with a transfer from the first to the second."""

    def __init__(self, lab: Lab, folder: Path, *, relaying: bool) -> None:
        lab.host("control", "10.50.0.1")
        lab.site("home", "port_restricted")
        lab.site("pub", "none")
        self.lab, self.mesh = lab, Mesh(lab, folder, HERE, THERE)
        if not relaying:
            for program in (self.mesh.server, self.mesh[HERE], self.mesh[THERE]):
                program.config.write_text('plugins = ["-derp"]\n' + program.config.read_text())
        self.mesh.start_server()
        self.mesh.enrol(HERE, THERE)
        self.here, self.there = self.mesh[HERE], self.mesh[THERE]
        wait_for("there can be reached", lambda: self.here.can_ping(self.there.address()), CROWDED)
        self.pair = Pair(self.here, self.there)

    def are_over(self, name: str) -> bool:
        self.pair.stream.check()
        return transport(self.here, self.there) == transport(self.there, self.here) == name

    def settles(self, name: str, patience: float) -> float:
        """Wait until both send over it; seconds."""
        began = time.monotonic()
        try:
            wait_for(f"both send over {name}", lambda: self.are_over(name), patience)
        except AssertionError as failure:
            failure.add_note(self.pair.explained())
            raise
        return time.monotonic() - began


@pytest.fixture(scope="module")
def stories(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Story]]:
    made: dict[str, Story] = {}

    def story(kind: str) -> Story:
        if kind not in made:
            made[kind] = Story(make_lab(), tmp_path_factory.mktemp(kind), relaying=kind == "relay")
        return made[kind]

    yield story
    for each in made.values():
        each.pair.close()


@pytest.mark.parametrize("what", FILTERS)
def test_a_stream_moves_to_quic_and_back(
    stories: Callable[[str], Story], what: str, record_property: Callable[[str, object], None]
) -> None:
    rule, kind, lasting = FILTERS[what]
    story = stories(kind)
    story.settles("udp", BACK)
    stream = story.pair.stream
    stream.goes_on()
    began = time.monotonic()
    with mishaps.dropping(story.lab, "home", rule):
        moved = story.settles("quic", MOVES)
        assert "quic" in story.here.gwctl("status")
        stream.goes_on()
        gap, since = stream.gap(began), time.monotonic()
        wait_for("the filter was there for a while", lambda: time.monotonic() - began > lasting, 2 * lasting)
        assert story.are_over("quic"), story.pair.explained()
        meanwhile, healed = stream.gap(since), time.monotonic()
    back = story.settles("udp", BACK)
    stream.goes_on(2)
    after = stream.gap(healed)
    figures = {"on quic s": moved, "gap s": gap, "gap on quic s": meanwhile, "back s": back, "gap back s": after}
    record_property(TABLE, {"dropped": what, **{name: f"{value:.2f}" for name, value in figures.items()}})
    assert gap < GAPS[kind]
    assert max(meanwhile, after) < HICCUP
    assert story.are_over("udp")


@pytest.mark.parametrize("kind", GAPS)
def test_all_of_it_arrived_unchanged_on_one_connection(stories: Callable[[str], Story], kind: str) -> None:
    stream = stories(kind).pair.stream
    stream.goes_on()
    stream.close()
    stream.check()
    assert stream.whole()
