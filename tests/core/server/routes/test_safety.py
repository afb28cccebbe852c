"""Whatever nodes report and administrators approve, in whatever order: nobody takes the mesh's or another's traffic."""

from collections.abc import Iterable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.errors import Conflict, NotFound
from ghostwire.model import Route
from ghostwire.server.routes.overlaps import Overlaps
from ghostwire.wire.prefixes import is_default, overlap, parse_prefix

MESH = tuple(map(ip_network, ("100.64.0.0/16", "fd12:3456:789a::/48", "100.100.0.0/16")))
PREFIXES = (
    *("10.0.0.0/8", "10.0.0.0/9", "10.1.0.0/16", "10.1.128.0/17", "10.128.0.0/9", "10.1.2.3/32", "11.0.0.0/8"),
    *("100.64.0.0/10", "100.64.7.0/24", "100.65.0.0/16", "100.100.100.100/32", "100.0.0.0/8", "fd12:3456:789a:1::/64"),
    *("fd00::/8", "fd00:1::/32", "fd00:1:2::/48", "0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8:1::/48"),
)

nodes = st.integers(1, 4)
some = st.lists(st.sampled_from(PREFIXES), max_size=5, unique=True)
grants = st.fixed_dictionaries({}, optional=dict.fromkeys(("n1", "n2", "n3", "n4", "user1"), some))
steps = st.one_of(
    st.tuples(st.just("report"), nodes, some),
    st.tuples(st.sampled_from(["approve", "reject", "delete"]), nodes, some.filter(bool)),
    st.tuples(st.just("grant"), nodes, grants),
)


@settings(max_examples=150, deadline=None)
@given(grants, st.booleans(), st.lists(steps, max_size=12))
def test_no_order_of_events_leads_traffic_astray(scene, first, longest, events):
    mesh = scene(**first)
    mesh.longest = longest
    for event in events:
        before = mesh.routes
        _happen(mesh, *event)
        after = mesh.routes
        _check_safe(after)
        fresh = [route for route in after if route.approved_by == "auto" and route not in before]
        for route in fresh:
            assert not rivals_of(route, after), "what overlaps another's route was approved automatically"


@settings(max_examples=150, deadline=None)
@given(grants, st.booleans(), st.lists(steps, max_size=8), nodes, st.sampled_from(PREFIXES))
def test_an_administrator_is_refused_exactly_what_is_not_to_be(scene, first, longest, events, number, prefix):
    mesh = scene(**first)
    mesh.longest = longest
    for event in events:
        _happen(mesh, *event)
    before = mesh.routes
    route = next((each for each in before if (each.node, each.prefix) == (number, prefix)), None)
    if route is None:
        with pytest.raises(NotFound):
            mesh.approve(number, prefix)
        return
    shared = any(each.approved and each.prefix == prefix and each.node != number for each in before)
    if longest or shared or not rivals_of(route, before):
        assert all(each.approved for each in mesh.approve(number, prefix))
    else:
        with pytest.raises(Conflict):
            mesh.approve(number, prefix)
        assert mesh.routes == before


@given(st.lists(st.tuples(st.booleans(), nodes, st.sampled_from(PREFIXES)), max_size=30), st.sampled_from(PREFIXES))
def test_overlaps_are_those_that_a_plain_comparison_finds(changes, asked):
    overlaps, held = Overlaps(()), set[tuple[int, str]]()
    for added, node, prefix in changes:
        (overlaps.add if added else overlaps.discard)(parse_prefix(prefix), node)
        (held.add if added else held.discard)((node, prefix))
    routes = [Route(id=1, node=node, prefix=prefix, approved=True) for node, prefix in held]
    found = [(rival.node, str(rival.prefix), rival.wider) for rival in overlaps.rivals(parse_prefix(asked), 1)]
    plain = rivals_of(Route(id=1, node=1, prefix=asked), routes)
    assert sorted(found) == sorted((each.node, each.prefix, _wider(each.prefix, asked)) for each in plain)
    routers = {node for node, prefix in held if prefix == asked and not is_default(parse_prefix(prefix))}
    assert overlaps.routers(parse_prefix(asked)) == routers


def _happen(mesh, what: str, number: int, argument) -> None:
    """An event, which an administrator may be refused."""
    if what == "grant":
        mesh.grant(**argument)
        mesh.judge()
        return
    try:
        getattr(mesh, what)(number, *argument)
    except (Conflict, NotFound):
        assert what != "report"


def _check_safe(routes: Iterable[Route]) -> None:
    for route in routes:
        prefix = parse_prefix(route.prefix)
        assert is_default(prefix) or not any(overlap(prefix, each) for each in MESH), f"{route} takes the mesh's own"
        assert route.advertised or route.approved_by not in ("", "auto"), f"{route} is kept for nobody"
        assert route.approved or route.approved_by != "auto"


def rivals_of(route: Route, routes: Iterable[Route]) -> list[Route]:
    """Other nodes' approved routes that overlap this one without being the same, exit nodes' left out."""
    own = parse_prefix(route.prefix)
    others = (each for each in routes if each.approved and each.node != route.node and each.prefix != route.prefix)
    if is_default(own):
        return []
    found = ((each, parse_prefix(each.prefix)) for each in others)
    return [each for each, prefix in found if not is_default(prefix) and overlap(prefix, own)]


def _wider(prefix: str, than: str) -> bool:
    return parse_prefix(prefix).prefixlen < parse_prefix(than).prefixlen
