"""Two stock `tailcat` processes, which use the field's own relay client, over our relay; and over the stock one.

That the same passes over the stock relay shows that it asks for nothing but what the field has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from natlab import Lab
from programs import Relay, wait_for
from stock import NO_DERPER, NO_TAILCAT, Derper, MapServer, Tailcat, derp_map, find_derper, find_tailcat

PORT = 443
TRIES = 35
"""Seconds: tailcat says who it is once, in one packet, and where that gets lost it gives up after 10 s."""
DATA = "".join(f"{number:09}\n" for number in range(100_000))

pytestmark = [pytest.mark.real, pytest.mark.skipif(not find_tailcat(), reason=NO_TAILCAT)]


@pytest.fixture(scope="module", params=["ours", "stock"])
def lab(
    request: pytest.FixtureRequest, make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """A relay, and machines behind routers of which some let no UDP pass; all have the DERP map."""
    if request.param == "stock" and not find_derper():
        pytest.skip(NO_DERPER)
    folder = tmp_path_factory.mktemp("relay")
    lab = make_lab()
    lab.host("relay", "10.50.0.11")
    for name, kind in (("a", "udp_blocked"), ("b", "udp_blocked"), ("c", "port_restricted"), ("d", "port_restricted")):
        lab.site(name, kind)
    lab.build()
    relay = (Relay if request.param == "ours" else Derper)(lab, "relay", folder, PORT)
    relay.start()
    document = derp_map("10.50.0.11", PORT, relay.pin)
    maps = [MapServer(lab, member, document) for member in ("a1", "b1", "c1", "d1")]
    yield lab
    for server in maps:
        server.close()


@pytest.fixture
def listener(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Tailcat]:
    """Waits in the member that the test names."""
    with Tailcat(lab, request.param, tmp_path) as tailcat:
        tailcat.ready()
        yield tailcat


@pytest.mark.parametrize("listener", ["a1"], indirect=True)
def test_machines_without_udp_move_data_through_the_relay(listener: Tailcat) -> None:
    pong = listener.ask("b1", "ping", "--timeout=30s")
    assert "via DERP" in pong.stdout, pong.stderr[-2000:]
    check_transfer(listener, "b1")
    assert "udp=true" not in listener.text()


@pytest.mark.parametrize("listener", ["c1"], indirect=True)
def test_machines_that_learn_their_addresses_by_stun_go_direct(listener: Tailcat) -> None:
    pong = listener.ask("d1", "ping", "--until-direct", "--timeout=30s")
    assert "DERP" not in pong.stdout.splitlines()[-1], pong
    assert "10.50.1." in pong.stdout.splitlines()[-1], pong
    assert "udp=true" in listener.text()
    check_transfer(listener, "d1")


def check_transfer(listener: Tailcat, member: str) -> None:
    """A megabyte arrives whole and in order."""
    wait_for("the data is taken", lambda: listener.ask(member, stdin=DATA).returncode == 0, TRIES)
    wait_for("all has arrived", lambda: listener.output.stat().st_size == len(DATA))
    assert listener.output.read_text() == DATA
