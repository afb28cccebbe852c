"""The lab itself: its NATs do what their names say, its links lose and delay, it leaves nothing behind."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from natlab import Lab, standard_lab
from natprobe import Reflector, filtering, hairpin, mapping, punch
from netns import NAMED


@pytest.fixture(scope="module")
def sites(make_lab: Callable[[], Lab]) -> Iterator[Lab]:
    lab = standard_lab(make_lab())
    reflector = Reflector(lab)
    reflector.start()
    yield lab
    reflector.close()


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("pub1", ("none", "EIF")),
        ("one1", ("EIM", "EIF")),
        ("full1", ("EIM", "EIF")),
        ("addr1", ("EIM", "ADF")),
        ("port1", ("EIM", "APDF")),
        ("cgn1", ("EIM", "APDF")),
        ("sym1", ("APDM", "APDF")),
    ],
)
def test_a_nat_maps_and_filters_as_its_name_says(sites: Lab, client: str, expected: tuple[str, str]) -> None:
    assert (mapping(sites, client), filtering(sites, client)) == expected


def test_a_blocked_site_has_no_udp(sites: Lab) -> None:
    assert mapping(sites, "noudp1") == "no UDP"


@pytest.mark.parametrize(("site", "works"), [("phr", True), ("full", True), ("port", False)])
def test_hairpinned_packets_come_from_the_outside_address(sites: Lab, site: str, works: bool) -> None:
    source = hairpin(sites, f"{site}1", f"{site}2")
    assert (source is not None) is works
    if source:
        assert source[0].startswith("10.50.1.")


@pytest.mark.parametrize(
    ("a", "b", "works"), [("port1", "cgn1", True), ("port1", "sym1", False), ("sym1", "addr1", True)]
)
def test_holes_can_be_punched_where_the_mapping_can_be_foreseen(sites: Lab, a: str, b: str, works: bool) -> None:
    assert punch(sites, a, b) is works


def test_an_ipv6_site_answers_only_where_it_spoke_first(sites: Lab) -> None:
    with sites.socket("six1", socket.AF_INET6) as inside, sites.socket("pub1", socket.AF_INET6) as outside:
        for sock in (inside, outside):
            sock.bind(("::", 0))
        target = (sites.addresses["six1"], inside.getsockname()[1])
        outside.sendto(b"unasked", target)
        assert not select.select([inside], [], [], 0.2)[0]
        inside.sendto(b"hello", ("fd50::2:1", outside.getsockname()[1]))
        assert outside.recv(10) == b"hello"
        outside.sendto(b"answer", target)
        assert inside.recv(10) == b"answer"


def test_a_process_runs_in_its_namespace(sites: Lab) -> None:
    script = "import socket; s = socket.create_server(('10.50.0.1', 8443)); print(flush=True); print(s.accept()[1][0])"
    server = sites.popen("control", ["python3", "-c", script], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    with sites.socket("cgn1", kind=socket.SOCK_STREAM) as client:
        client.connect(("10.50.0.1", 8443))
        assert server.stdout.readline().startswith("10.50.1.")


def ask(sock: socket.socket, target: Any) -> float:
    began = time.monotonic()
    sock.sendto(b"x", target)
    assert select.select([sock], [], [], 5)[0]
    sock.recv(10)
    return time.monotonic() - began


def test_a_wire_delays_and_cuts(make_lab: Callable[[], Lab]) -> None:
    lab = make_lab()
    lab.host("a", "10.50.0.1", wire=True)
    lab.host("b", "10.50.0.2")
    lab.build()
    script = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9)); print(flush=True)\n"
    script += "while 1: s.sendto(*s.recvfrom(9))"
    lab.popen("b", ["python3", "-c", script], stdout=subprocess.PIPE, text=True).stdout.readline()
    with lab.socket("a") as sock:
        ask(sock, ("10.50.0.2", 9))
        lab.impair("a", delay=60)
        assert ask(sock, ("10.50.0.2", 9)) >= 0.12
        lab.impair("a", b2a={"loss": 0}, a2b={"loss": 100})
        sock.sendto(b"x", ("10.50.0.2", 9))
        assert not select.select([sock], [], [], 0.3)[0]


def test_a_closed_lab_leaves_no_namespace_and_no_process(namespaces: None) -> None:
    with Lab() as lab:
        lab.host("a", "10.50.0.1")
        lab.build()
        sleeper = lab.popen("a", ["sleep", "1000"])
        assert any(name.startswith(lab.prefix) for name in os.listdir(NAMED))
    assert not any(name.startswith(lab.prefix) for name in os.listdir(NAMED))
    assert sleeper.returncode is not None
