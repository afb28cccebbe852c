"""The NAT matrix: nodes behind every kind of router start cold with those behind every other kind, both ways round.

What a pair has to come to is computed from what the routers do (`physics`), and that is measured too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network

import pytest
from coldstart import Found
from matrix import KINDS, SHARED, Cells, build, measure, measure_lans, possible, table
from natlab import Lab
from natprobe import Reflector, filtering, mapping, punch
from physics import BEHAVIOURS, can_punch

AT_ONCE = 24
LANS = (ip_network("10.60.0.0/16"), ip_network("fd60::/16"))
pytestmark = [pytest.mark.usefixtures("tun"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def found(
    make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Cells, dict[str, Found], dict[str, str]]:
    """Every cell, the pairs on one LAN, and the nodes' logs."""
    mesh = build(make_lab(), tmp_path_factory.mktemp("matrix"))
    lans = asyncio.run(measure_lans(mesh))
    return asyncio.run(measure(mesh)), lans, {name: node.text() for name, node in mesh.nodes.items()}


def test_every_pair_connects(found, capsys):
    cells = found[0]
    with capsys.disabled():
        print(f"\n{table(cells)}")
    assert [pair for pair, cell in cells.items() if cell.answered is None or cell.way == "none"] == []
    assert len(cells) == len(KINDS) ** 2


def test_all_pairs_that_physics_lets_through_go_direct_and_the_rest_is_relayed(found):
    cells = found[0]
    direct = {pair for pair, cell in cells.items() if cell.direct}
    assert direct == {pair for pair in cells if possible(*pair)}
    assert [pair for pair, cell in cells.items() if cell.way.startswith("direct") is not bool(cell.direct)] == []


def test_ipv6_is_used_where_it_is_all_there_is(found):
    cells = found[0]
    six = {pair for pair, cell in cells.items() if "ipv6_only" in pair and cell.direct}
    assert {cells[pair].way for pair in six} == {"direct6"}
    assert ("ipv6_only", "ipv6_only") in six
    assert ("ipv6_only", "none") in six


@pytest.mark.parametrize("kind", SHARED)
def test_two_nodes_on_one_lan_use_it(found, kind):
    lan = found[1][kind]
    assert lan.way.startswith("direct"), lan
    address = ip_address(lan.path["endpoint"].rpartition(":")[0].strip("[]"))
    assert any(address in network for network in LANS)


def test_nothing_went_wrong_in_any_node(found):
    assert [name for name, text in found[2].items() if "Traceback" in text] == []


@pytest.fixture(scope="module")
def bare(make_lab: Callable[[], Lab]) -> Iterator[Lab]:
    """Two sites of every kind that has IPv4, and who tells them their outside address."""
    lab = make_lab()
    lab.host("relay1", "10.50.0.11", "10.50.0.111")
    for number, kind in enumerate(KINDS):
        lab.site(f"a{number}x", kind)
        lab.site(f"b{number}x", kind)
    lab.build()
    reflector = Reflector(lab)
    reflector.start()
    yield lab
    reflector.close()


def four() -> list[int]:
    return [number for number, kind in enumerate(KINDS) if kind != "ipv6_only"]


def test_routers_do_what_physics_takes_them_to_do(bare):
    with ThreadPoolExecutor(AT_ONCE) as workers:
        mappings = list(workers.map(lambda number: mapping(bare, f"a{number}x1"), four()))
        filterings = list(workers.map(lambda number: filtering(bare, f"a{number}x1"), four()))
    behaviours = [BEHAVIOURS[KINDS[number]] for number in four()]
    assert mappings == [each.mapping for each in behaviours]
    assert filterings == [each.filtering for each in behaviours]


def test_bare_sockets_get_through_exactly_where_physics_says_so(bare):
    pairs = [(one, other) for one in four() for other in four()]
    with ThreadPoolExecutor(AT_ONCE) as workers:
        through = list(workers.map(lambda pair: punch(bare, f"a{pair[0]}x1", f"b{pair[1]}x1"), pairs))
    behaviours = {number: BEHAVIOURS[KINDS[number]] for number in four()}
    wrong = [
        (KINDS[one], KINDS[other])
        for (one, other), punched in zip(pairs, through, strict=True)
        if bool(punched) is not can_punch(behaviours[one], behaviours[other])
    ]
    assert wrong == []
