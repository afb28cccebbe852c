"""The filter and the system's firewall beside a plain reading of the rules, on random meshes, packets and changes."""

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

from ghostwire.capabilities.platform import FirewallRule
from ghostwire.model import Cursor, LabelSet, MapChange, MapRoute, NetworkMap, Rule, SetChange
from ghostwire.node.filter import MapFilter
from ghostwire.node.firewall import firewall_rules
from ghostwire.testing import ManualClock

PEERS = (2, 3, 4)
LABELS = (10, 11, 12)
PREFIXES = ("10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "0.0.0.0/0", "::/0", "fd77::/64", "100.64.0.2/32", "fd00::/16")
PLACES = [f"100.64.0.{id_}" for id_ in (1, *PEERS, 9)] + [f"fd00:1:2::6440:{id_}" for id_ in (1, *PEERS, 9)]
PLACES += ["10.1.2.3", "10.1.9.9", "10.2.0.1", "8.8.8.8", "fd77::5", "2001:db8::1"]
PORTS = (0, 21, 22, 23, 80, 443, 65535)

places, labels = st.sampled_from(PLACES), st.sets(st.sampled_from(LABELS), max_size=2).map(tuple)
prefixes = st.sets(st.sampled_from(PREFIXES), max_size=2).map(tuple)
pairs = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(lambda pair: (min(pair), max(pair)))
rules = st.builds(
    Rule,
    id=st.integers(1, 50),
    sources=labels,
    destinations=labels,
    source_prefixes=prefixes,
    destination_prefixes=prefixes,
    own=st.booleans(),
    protocols=st.sets(st.sampled_from((1, 6, 17, 47, 58)), max_size=2).map(tuple),
    ports=st.lists(pairs, max_size=2).map(tuple),
)
members = st.sets(st.sampled_from(PEERS)).map(tuple)
sets = st.builds(LabelSet, id=st.sampled_from(LABELS), everyone=st.booleans(), nodes=members)
routes = st.builds(
    MapRoute,
    id=st.integers(1, 5),
    prefix=st.sampled_from(PREFIXES[:6]),
    router=st.sampled_from((1, *PEERS)),
    down=st.booleans(),
)
persons = st.fixed_dictionaries({"user": st.integers(1, 2), "tags": st.sampled_from(((), ("tag:a",)))})


@st.composite
def changes(draw: Any, kit: Any, *, full: bool) -> MapChange:
    """A whole map, or what may follow one."""
    nodes = [kit.map_node(id_, **draw(persons)) for id_ in (1, *PEERS) if full or draw(st.integers(0, 3)) == 0]
    several: dict[str, Any] = {
        name: tuple(draw(st.lists(each, max_size=3 if full else 1))) for name, each in _PARTS.items()
    }
    own_labels = draw(labels if full else st.none() | labels)
    made = MapChange(cursor=Cursor(1, b"m"), full=full, nodes=tuple(nodes), own_labels=own_labels, **several)
    if full:
        return made
    there = {node.id for node in nodes}
    return msgspec.structs.replace(
        made,
        removed_nodes=tuple(id_ for id_ in draw(members) if id_ not in there),
        removed_rules=tuple(draw(st.sets(st.integers(1, 50), max_size=2))),
        removed_routes=tuple(draw(st.sets(st.integers(1, 5), max_size=1))),
        set_changes=tuple(draw(st.lists(set_changes, max_size=2))),
    )


_PARTS: dict[str, Any] = {"rules": rules, "sets": sets, "routes": routes}
set_changes = st.builds(SetChange, id=st.sampled_from(LABELS), added=members, removed=members)


@st.composite
def traffic(draw: Any) -> tuple[Packet, str, str, int, int | None]:
    """A packet between addresses of one family; with what a rule looks at."""
    source = draw(places)
    target = draw(places.filter(lambda each: (":" in each) is (":" in source)))
    kind, port = draw(st.sampled_from((TCP, UDP, ICMP, 47))), draw(st.sampled_from(PORTS))
    base = IPv6(src=source, dst=target) if ":" in source else IP(src=source, dst=target)
    if ":" in source and draw(st.booleans()):
        base /= IPv6ExtHdrDestOpt()
    if kind in (TCP, UDP):
        ported = kind(sport=draw(st.integers(1, 65535)), dport=port)
        return base / ported, source, target, 6 if kind is TCP else 17, port
    if kind is ICMP:
        echo, protocol = (ICMPv6EchoRequest(id=port), 58) if ":" in source else (ICMP(type=8, id=port), 1)
        return base / echo / Raw(bytes(8)), source, target, protocol, None
    base.lastlayer().setfieldval("nh" if ":" in source else "proto", 47)
    return base / Raw(bytes(range(24))), source, target, 47, None


def holds(prefix: str, address: str) -> bool:
    return ip_address(address) in ip_network(prefix)


def let_in(network: NetworkMap, peer: int, source: str, target: str, protocol: int, port: int | None) -> bool:
    """What the records' docstrings say, read aloud."""
    own, node = network.nodes[1], network.nodes.get(peer)
    if node is None:
        return False
    behind = [route.prefix for route in network.routes.values() if route.router == peer]
    mine = [route.prefix for route in network.routes.values() if route.router == 1]
    is_peers = source in node.addresses
    is_routed = any(holds(prefix, source) for prefix in behind if not prefix.endswith("/0"))
    if not (is_peers or is_routed):
        return False
    if target not in own.addresses and not any(holds(prefix, target) for prefix in mine):
        return False

    def matches(rule: Rule) -> bool:
        named = [network.sets[label] for label in rule.sources if label in network.sets]
        everyone = any(each.everyone for each in named)
        from_here = everyone or (is_peers and any(peer in each.nodes for each in named))
        from_here = from_here or any(holds(prefix, source) for prefix in rule.source_prefixes)
        to_here = target in own.addresses and bool(set(rule.destinations) & network.own_labels)
        to_here = to_here or any(holds(prefix, target) for prefix in rule.destination_prefixes)
        if rule.own:
            mates = own.user == node.user and not own.tags and not node.tags
            from_here, to_here = from_here and mates and is_peers, target in own.addresses
        ported = not rule.ports or protocol in (1, 58)
        ported = ported or (port is not None and any(low <= port <= high for low, high in rule.ports))
        return from_here and to_here and ported and (not rule.protocols or protocol in rule.protocols)

    return any(map(matches, network.rules.values()))


def passes(rule: FirewallRule, source: str, target: str, protocol: int, port: int | None) -> bool:
    ported = not rule.ports or protocol in (1, 58)
    ported = ported or (port is not None and any(low <= port <= high for low, high in rule.ports))
    places = any(holds(each, source) for each in rule.sources) and any(
        holds(each, target) for each in rule.destinations
    )
    return places and ported and (not rule.protocols or protocol in rule.protocols)


def check(filter_: MapFilter, network: NetworkMap, packets: Any) -> None:
    written = firewall_rules(network, network.nodes[1])
    for packet, *what in packets:
        expected = {peer: let_in(network, peer, *what) for peer in PEERS}
        raw = bytes(packet)
        for peer in PEERS:
            for _ in range(2):
                assert bool(filter_.admit(peer, [raw])) is expected[peer], (peer, packet, network.rules)
        assert any(passes(rule, *what) for rule in written) is any(expected.values()), (packet, written)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(data=st.data())
def test_filter_and_firewall_let_in_what_the_rules_say_through_every_change(kit: Any, data: Any) -> None:
    network, filter_ = NetworkMap(), MapFilter(ManualClock())
    packets = data.draw(st.lists(traffic(), min_size=1, max_size=8))
    for full in (True, False, False):
        change = data.draw(changes(kit, full=full))
        network.apply(change)
        filter_.update(network, network.nodes[1], change)
        check(filter_, network, packets)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(data=st.data())
def test_whatever_the_rules_are_an_answer_comes_in_and_a_stranger_does_not(kit: Any, data: Any) -> None:
    network, filter_ = NetworkMap(), MapFilter(ManualClock())
    network.apply(data.draw(changes(kit, full=True)))
    network.apply(MapChange(cursor=Cursor(2, b"m"), removed_rules=tuple(network.rules)))
    filter_.update(network, network.nodes[1])
    here, there = data.draw(st.sampled_from((PLACES[0:2], PLACES[5:7])))
    sport, dport = data.draw(st.tuples(st.integers(1, 65535), st.integers(1, 65535)))
    layer, kind = (IPv6 if ":" in here else IP), data.draw(st.sampled_from((TCP, UDP)))
    filter_.record([memoryview(bytearray(bytes(layer(src=here, dst=there) / kind(sport=sport, dport=dport))))])
    answer = bytes(layer(src=there, dst=here) / kind(sport=dport, dport=sport))
    other = bytes(layer(src=there, dst=here) / kind(sport=dport, dport=sport ^ 1))
    for _ in range(2):
        assert filter_.admit(2, [answer, other]) == [answer]
