"""STUN between namespaces: ``ghostwire relay`` with two addresses, asked from behind NATs."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from natlab import Lab
from programs import Daemon, wait_for

from ghostwire.wire import stun

FIRST, SECOND, SIX = "10.50.0.1", "10.50.0.2", "fd50::1"
CLIENT = "turnutils_stunclient"


class Relay(Daemon):
    """``ghostwire relay``, open to all, with two worker processes."""

    command = "relay"

    def words(self) -> list[str]:
        return [*super().words(), "--open", "--no-tls", "--workers", "2"]

    def ready(self) -> None:
        wait_for("the relay is ready", lambda: "ready at" in self.text())


@pytest.fixture(scope="module")
def lab(make_lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab: Lab = make_lab()
    lab.host("relay", FIRST, SECOND, v6=SIX)
    lab.site("easy", "port_restricted")
    lab.site("hard", "symmetric")
    lab.site("six", "ipv6_only")
    lab.site("pub", "none")
    lab.build()
    Relay(lab, "relay", tmp_path_factory.mktemp("relay")).start()
    return lab


@pytest.fixture
def ask(lab: Lab) -> Iterator[Any]:
    """``ask(socket, relay)`` gives the address that the relay saw, by an answer from the address that was asked."""
    made: list[socket.socket] = []

    def ask(member: str, *relays: str) -> list[tuple[str, int]]:
        own = lab.socket(member, socket.AF_INET6 if ":" in relays[0] else socket.AF_INET)
        made.append(own)
        own.settimeout(5)
        return [_asked(own, relay) for relay in relays]

    yield ask
    for each in made:
        each.close()


def _asked(own: socket.socket, relay: str) -> tuple[str, int]:
    transaction = os.urandom(12)
    own.sendto(stun.binding_request(transaction), (relay, 3478))
    answer, (source, port, *_) = own.recvfrom(2000)
    found = stun.mapped_address(answer)
    assert found is not None
    assert (source, port, found[0]) == (relay, 3478, transaction)
    return found[1:]


def test_a_node_behind_an_easy_nat_has_one_address_for_all(ask):
    one, other = ask("easy1", FIRST, SECOND)
    assert one == other
    assert one[0] == "10.50.1.1"


def test_a_node_behind_a_hard_nat_has_an_address_for_each(ask):
    one, other = ask("hard1", FIRST, SECOND)
    assert one[0] == other[0] == "10.50.1.2"
    assert one[1] != other[1]


def test_a_node_on_the_relays_own_link_hears_from_the_address_it_asked(ask, lab):
    assert [address for address, _ in ask("pub1", FIRST, SECOND)] == [lab.addresses["pub1"]] * 2


def test_a_node_without_ipv4_learns_its_ipv6_address(ask, lab):
    assert ask("six1", SIX)[0][0] == lab.addresses["six1"]


@pytest.mark.skipif(not shutil.which(CLIENT), reason=f"needs {CLIENT}, of Debian's package coturn")
@pytest.mark.parametrize(
    ("member", "relay", "seen"), [("easy1", FIRST, "10.50.1.1"), ("hard1", SECOND, "10.50.1.2"), ("six1", SIX, "fd60:")]
)
def test_coturns_client_agrees(lab, member, relay, seen):
    done = lab.run(member, [CLIENT, relay], timeout=30)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"UDP reflexive addr: {re.escape(seen)}", done.stdout), done.stdout
