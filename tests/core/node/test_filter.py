"""The packet filter: default deny by rules between labels, answers to what was begun, fragments, ICMP errors."""

from collections.abc import Sequence
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from ghostwire import Metrics
from ghostwire.engine import SECOND
from ghostwire.model import Cursor, LabelSet, MapChange, MapRoute, NetworkMap, Rule, SetChange
from ghostwire.node.filter import MapFilter
from ghostwire.node.flows import OTHER_IDLE, TCP_IDLE
from ghostwire.testing import ManualClock

OWN, PEER, THIRD = "100.64.0.1", "100.64.0.2", "100.64.0.3"
OWN6, PEER6 = "fd00:1:2::6440:1", "fd00:1:2::6440:2"


def network(kit: Any, *rules: Rule, sets: Sequence[LabelSet] = ()) -> NetworkMap:
    """Node 1, which is filtered, carries labels 0 and 10; node 2 label 20; node 3 none."""
    held = NetworkMap()
    nodes = (kit.map_node(1), kit.map_node(2), kit.map_node(3))
    sets = (LabelSet(id=20, nodes=(2,)), *sets)
    held.apply(MapChange(cursor=Cursor(1, b"m"), full=True, nodes=nodes, rules=rules, sets=sets, own_labels=(0, 10)))
    return held


def filtering(kit: Any, clock: ManualClock, *rules: Rule, sets: Sequence[LabelSet] = ()) -> MapFilter:
    made, held = MapFilter(clock), network(kit, *rules, sets=sets)
    made.update(held, held.nodes[1])
    return made


def admits(filter_: MapFilter, packet: Packet, peer: int = 2) -> bool:
    return bool(filter_.admit(peer, [memoryview(bytes(packet))]))


SSH = Rule(id=1, sources=(20,), destinations=(10,), protocols=(6,), ports=((22, 22), (8000, 8100)))


def tcp(source: str, target: str, sport: int, dport: int) -> Packet:
    return IP(src=source, dst=target) / TCP(sport=sport, dport=dport)


def test_the_universal_rule_lets_everything_in_that_is_for_this_node(kit: Any, clock: ManualClock) -> None:
    everyone = LabelSet(id=0, everyone=True)
    open_ = filtering(kit, clock, Rule(id=1, sources=(0,), destinations=(0,)), sets=[everyone])
    assert open_.admits_all
    burst = [bytes(tcp(PEER, OWN, port, 22)) for port in range(1, 5)]
    assert open_.admit(2, burst) == burst
    assert open_.admit(2, burst) is burst
    assert not admits(open_, tcp(PEER, THIRD, 1, 22))


@pytest.mark.parametrize("restriction", [{"protocols": (6,)}, {"ports": ((22, 22),)}])
def test_a_rule_for_everyone_that_names_protocols_or_ports_is_not_universal(
    kit: Any, clock: ManualClock, restriction: dict[str, Any]
) -> None:
    everyone = LabelSet(id=0, everyone=True)
    limited = filtering(kit, clock, Rule(id=1, sources=(0,), destinations=(0,), **restriction), sets=[everyone])
    assert not limited.admits_all
    assert not admits(limited, IP(src=PEER, dst=OWN) / UDP(sport=1, dport=53) / b"x")


def test_before_the_map_and_without_rules_nothing_is_admitted(kit: Any, clock: ManualClock) -> None:
    assert not admits(MapFilter(clock), tcp(PEER, OWN, 1, 22))
    assert not admits(filtering(kit, clock), tcp(PEER, OWN, 1, 22))


@pytest.mark.parametrize(
    ("port", "peer", "admitted"),
    [
        (22, 2, True),
        (8000, 2, True),
        (8050, 2, True),
        (8100, 2, True),
        (8101, 2, False),
        (23, 2, False),
        (22, 3, False),
    ],
)
def test_a_rule_admits_its_sources_on_its_ports(
    kit: Any, clock: ManualClock, port: int, peer: int, admitted: bool
) -> None:
    source = {2: PEER, 3: THIRD}[peer]
    assert admits(filtering(kit, clock, SSH), tcp(source, OWN, 40000, port), peer) is admitted


def test_a_rule_for_other_destinations_does_not_concern_this_node(kit: Any, clock: ManualClock) -> None:
    elsewhere = Rule(id=1, sources=(20,), destinations=(30,))
    assert not admits(filtering(kit, clock, elsewhere), tcp(PEER, OWN, 1, 22))


def test_a_rule_names_its_sources_by_sets(kit: Any, clock: ManualClock) -> None:
    rule = Rule(id=1, sources=(40,), destinations=(10,))
    limited = filtering(kit, clock, rule, sets=[LabelSet(id=40, nodes=(3,))])
    assert admits(limited, tcp(THIRD, OWN, 1, 22), 3)
    assert not admits(limited, tcp(PEER, OWN, 1, 22), 2)


def test_a_packet_for_somebody_else_is_refused(kit: Any, clock: ManualClock) -> None:
    assert not admits(filtering(kit, clock, SSH), tcp(PEER, THIRD, 1, 22))


def test_what_this_node_began_is_answered(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, SSH)
    limited.record([bytes(tcp(OWN, THIRD, 40000, 443)), bytes(IPv6(src=OWN6, dst=PEER6) / UDP(sport=5, dport=53))])
    assert admits(limited, tcp(THIRD, OWN, 443, 40000), 3)
    assert admits(limited, IPv6(src=PEER6, dst=OWN6) / UDP(sport=53, dport=5) / b"answer")
    assert not admits(limited, tcp(THIRD, OWN, 443, 40001), 3)
    assert not admits(limited, tcp(THIRD, OWN, 40000, 443), 3)


def test_a_flow_ends_when_it_is_idle_for_long(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock)
    limited.record([bytes(tcp(OWN, PEER, 1, 2)), bytes(IP(src=OWN, dst=PEER) / UDP(sport=1, dport=2))])
    answers = [tcp(PEER, OWN, 2, 1), IP(src=PEER, dst=OWN) / UDP(sport=2, dport=1)]
    clock.advance(OTHER_IDLE - SECOND)
    assert [admits(limited, each) for each in answers] == [True, True]  # which keeps both alive
    clock.advance(OTHER_IDLE)
    assert [admits(limited, each) for each in answers] == [True, False]
    clock.advance(TCP_IDLE)
    assert [admits(limited, each) for each in answers] == [False, False]


def test_only_the_reply_to_an_own_echo_request_is_admitted(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock)
    limited.record([bytes(IP(src=OWN, dst=PEER) / ICMP(type=8, id=7))])
    assert admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=0, id=7) / b"12345678")
    assert not admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=8, id=7) / b"12345678")
    assert not admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=0, id=8) / b"12345678")
    limited.record([bytes(IPv6(src=OWN6, dst=PEER6) / ICMPv6EchoRequest(id=9))])
    assert admits(limited, IPv6(src=PEER6, dst=OWN6) / ICMPv6EchoReply(id=9))


def test_answering_a_ping_does_not_open_the_way_for_pings(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock)
    limited.record([bytes(IP(src=OWN, dst=PEER) / ICMP(type=0, id=7)), bytes(IP(src=OWN, dst=PEER) / ICMP(type=3))])
    for kind in (0, 3, 5, 8, 13):
        assert not admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=kind, id=7) / b"12345678")


def test_a_rule_for_icmp_admits_pings(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, Rule(id=1, sources=(20,), destinations=(10,), protocols=(1,)))
    assert admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=8, id=7))
    assert not admits(limited, tcp(PEER, OWN, 1, 22))


def test_an_error_about_an_own_packet_is_admitted_and_no_other(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock)
    sent = tcp(OWN, PEER, 40000, 443)
    limited.record([bytes(sent)])
    assert admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=3, code=4) / Raw(bytes(sent)[:28]))
    assert not admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=3, code=4) / Raw(bytes(tcp(OWN, PEER, 9, 9))[:28]))
    assert not admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=3, code=4) / b"rubbish")
    six = IPv6(src=OWN6, dst=PEER6) / TCP(sport=1, dport=2)
    limited.record([bytes(six)])
    assert admits(limited, IPv6(src=PEER6, dst=OWN6) / ICMPv6PacketTooBig() / Raw(bytes(six)))


def test_fragments_follow_their_first_and_no_other(kit: Any, clock: ManualClock) -> None:
    rule = Rule(id=1, sources=(20,), destinations=(10,), protocols=(17,), ports=((53, 53),))
    limited = filtering(kit, clock, rule)
    whole = IP(src=PEER, dst=OWN, id=77) / UDP(sport=1, dport=53) / bytes(3000)
    first, *rest = [bytes(each) for each in fragment(whole, 1200)]
    assert not limited.admit(2, rest)
    assert limited.admit(2, [first, *rest]) == [first, *rest]
    stranger = [bytes(each) for each in fragment(IP(src=PEER, dst=OWN, id=78) / UDP(dport=54) / bytes(3000), 1200)]
    assert not limited.admit(2, stranger)


def test_a_first_fragment_too_short_for_ports_matches_no_port(kit: Any, clock: ManualClock) -> None:
    cut = bytes(IP(src=PEER, dst=OWN, flags="MF", proto=6) / Raw(b"\x00"))
    assert not filtering(kit, clock, SSH).admit(2, [cut])


def test_extension_headers_do_not_hide_the_port(kit: Any, clock: ManualClock) -> None:
    hidden = IPv6(src=PEER6, dst=OWN6) / IPv6ExtHdrHopByHop() / TCP(sport=1, dport=22)
    assert admits(filtering(kit, clock, SSH), hidden)
    other = IPv6(src=PEER6, dst=OWN6) / IPv6ExtHdrHopByHop() / TCP(sport=1, dport=23)
    assert not admits(filtering(kit, clock, SSH), other)


def test_every_truncation_and_every_mutated_byte_is_survived(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, SSH)
    for packet in (
        tcp(PEER, OWN, 1, 22),
        IPv6(src=PEER6, dst=OWN6) / IPv6ExtHdrHopByHop() / TCP(dport=22),
        IP(src=PEER, dst=OWN) / ICMP(type=3) / Raw(bytes(tcp(OWN, PEER, 1, 2))),
    ):
        whole = bytes(packet)
        for length in range(len(whole)):
            limited.admit(2, [whole[:length]])
            for value in (0, 0x3C, 0x2C, 0x86, 0xFF):
                limited.admit(2, [whole[:length] + bytes([value]) + whole[length + 1 :]])
    assert limited.dropped > 100


def test_refused_packets_are_counted(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, SSH)
    limited.admit(2, [bytes(tcp(PEER, OWN, 1, 22)), bytes(tcp(PEER, OWN, 1, 23)), b""])
    assert limited.dropped == 2


def test_a_peer_without_rules_loses_its_access_with_the_next_map(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, SSH)
    bare = network(kit)
    limited.update(bare, bare.nodes[1])
    assert not admits(limited, tcp(PEER, OWN, 1, 22))


EVERYONE = LabelSet(id=0, everyone=True)
OPEN = Rule(id=9, sources=(0,), destinations=(0,), destination_prefixes=("0.0.0.0/0", "::/0"))


def changed(filter_: MapFilter, network_: NetworkMap, **what: Any) -> None:
    change = MapChange(cursor=Cursor(2, b"m"), **what)
    network_.apply(change)
    filter_.update(network_, network_.nodes[1], change)


def test_a_policy_that_comes_ends_what_a_peer_began_although_this_node_answers(kit: Any, clock: ManualClock) -> None:
    held, filter_ = network(kit, OPEN, sets=[EVERYONE]), MapFilter(clock)
    filter_.update(held, held.nodes[1])
    arriving, answer = tcp(PEER, OWN, 40000, 22), bytes(tcp(OWN, PEER, 22, 40000))
    arriving[TCP].flags = "S"
    assert admits(filter_, arriving)
    filter_.record([answer])
    changed(filter_, held, rules=(SSH,), removed_rules=(9,))
    filter_.record([answer])
    assert admits(filter_, arriving)  # which the new policy lets in, too
    changed(filter_, held, removed_rules=(1,))
    for _ in range(3):
        filter_.record([answer])
        assert not admits(filter_, arriving)


def test_what_a_peer_began_is_answered_no_longer_than_the_policy_lets_it_in(kit: Any, clock: ManualClock) -> None:
    held, filter_ = network(kit, OPEN, sets=[EVERYONE]), MapFilter(clock)
    filter_.update(held, held.nodes[1])
    asked, stream = (
        IP(src=PEER, dst=OWN) / UDP(sport=40000, dport=53),
        IP(src=OWN, dst=PEER) / UDP(sport=53, dport=40000),
    )
    own = bytes(IP(src=OWN, dst=PEER) / UDP(sport=53, dport=40001))
    assert admits(filter_, asked)
    assert filter_.record([bytes(stream), own]) == [bytes(stream), own]
    changed(filter_, held, rules=(SSH,), removed_rules=(9,))
    for _ in range(3):
        assert filter_.record([bytes(stream), own, bytes(stream)]) == [own]
    assert filter_.withheld == 6
    changed(filter_, held, rules=(OPEN,), sets=(EVERYONE,))
    assert filter_.record([bytes(stream)]) == [bytes(stream)]


def test_what_a_peer_began_is_answered_no_longer_once_it_leaves_a_set(kit: Any, clock: ManualClock) -> None:
    held = network(kit, SSH)
    filter_ = MapFilter(clock)
    filter_.update(held, held.nodes[1])
    answer = bytes(tcp(OWN, PEER, 22, 40000))
    assert admits(filter_, tcp(PEER, OWN, 40000, 22))
    assert filter_.record([answer]) == [answer]
    changed(filter_, held, set_changes=(SetChange(id=SSH.sources[0], removed=(2,)),))
    assert filter_.record([answer]) == []


def test_what_this_node_began_goes_on_under_every_policy(kit: Any, clock: ManualClock) -> None:
    held, filter_ = network(kit, OPEN, sets=[EVERYONE]), MapFilter(clock)
    filter_.update(held, held.nodes[1])
    first = tcp(OWN, PEER, 40000, 443)
    first[TCP].flags = "S"
    filter_.record([bytes(first)])
    assert admits(filter_, tcp(PEER, OWN, 443, 40000))
    changed(filter_, held, removed_rules=(9,))
    assert admits(filter_, tcp(PEER, OWN, 443, 40000))
    changed(filter_, held, removed_nodes=(2,))
    assert not admits(filter_, tcp(PEER, OWN, 443, 40000))


def test_a_flow_whose_beginning_was_not_seen_is_the_peers_where_rules_let_it_in(kit: Any, clock: ManualClock) -> None:
    held, filter_ = network(kit, SSH), MapFilter(clock)
    filter_.update(held, held.nodes[1])
    midst = tcp(OWN, PEER, 22, 40000)
    midst[TCP].flags = "PA"
    filter_.record([bytes(midst)])
    assert admits(filter_, tcp(PEER, OWN, 40000, 22))
    changed(filter_, held, removed_rules=(1,))
    filter_.record([bytes(midst)])
    assert not admits(filter_, tcp(PEER, OWN, 40000, 22))
    midst[TCP].dport = 40001
    filter_.record([bytes(midst)])
    assert admits(filter_, tcp(PEER, OWN, 40001, 22))


def test_a_node_that_leaves_a_set_loses_its_live_flows_at_once(kit: Any, clock: ManualClock) -> None:
    held, filter_ = network(kit, SSH), MapFilter(clock)
    filter_.update(held, held.nodes[1])
    assert admits(filter_, tcp(PEER, OWN, 40000, 22))
    changed(filter_, held, set_changes=(SetChange(id=20, added=(3,), removed=(2,)),))
    assert not admits(filter_, tcp(PEER, OWN, 40000, 22))
    assert admits(filter_, tcp(THIRD, OWN, 40000, 22), 3)


def test_what_an_exit_node_passes_on_comes_in_as_an_answer_alone(kit: Any, clock: ManualClock) -> None:
    held = network(kit, OPEN, sets=[EVERYONE])
    held.apply(MapChange(cursor=Cursor(2, b"m"), routes=(MapRoute(id=1, prefix="0.0.0.0/0", router=2),)))
    filter_ = MapFilter(clock)
    filter_.update(held, held.nodes[1])
    assert filter_.admits_all
    assert not admits(filter_, tcp("8.8.8.8", OWN, 443, 40000))
    filter_.record([bytes(tcp(OWN, "8.8.8.8", 40000, 443))])
    assert admits(filter_, tcp("8.8.8.8", OWN, 443, 40000))
    assert admits(filter_, tcp(PEER, OWN, 1, 22))


def test_a_rule_between_nodes_of_one_owner_is_none_for_hosts_behind_them(kit: Any, clock: ManualClock) -> None:
    rule = Rule(id=1, sources=(0,), own=True)
    held = network(kit, rule, sets=[EVERYONE])
    held.apply(MapChange(cursor=Cursor(2, b"m"), routes=(MapRoute(id=1, prefix="10.1.0.0/16", router=2),)))
    filter_ = MapFilter(clock)
    filter_.update(held, held.nodes[1])
    assert admits(filter_, tcp(PEER, OWN, 1, 22))
    assert not admits(filter_, tcp("10.1.0.5", OWN, 1, 22))
    changed(filter_, held, nodes=(kit.map_node(2, tags=("tag:web",)), kit.map_node(3, user=2)))
    assert not admits(filter_, tcp(PEER, OWN, 1, 22))
    assert not admits(filter_, tcp(THIRD, OWN, 1, 22), 3)


def test_a_subnet_router_passes_both_ways_what_may_be(kit: Any, clock: ManualClock) -> None:
    rule = Rule(id=1, sources=(20,), destination_prefixes=("10.0.0.0/8",), protocols=(6,), ports=((80, 80),))
    held = network(kit, rule)
    held.apply(MapChange(cursor=Cursor(2, b"m"), routes=(MapRoute(id=1, prefix="10.1.0.0/16", router=1),)))
    filter_ = MapFilter(clock)
    filter_.update(held, held.nodes[1])
    assert admits(filter_, tcp(PEER, "10.1.0.5", 1, 80))
    assert not admits(filter_, tcp(PEER, "10.2.0.5", 1, 80))  # which is no route of this node
    assert not admits(filter_, tcp(PEER, OWN, 1, 80))
    assert not admits(filter_, tcp(THIRD, "10.1.0.5", 443, 40000), 3)
    filter_.record([bytes(tcp("10.1.0.5", THIRD, 40000, 443))])
    assert admits(filter_, tcp(THIRD, "10.1.0.5", 443, 40000), 3)
    assert filter_.misdirected == 1


def test_icmp_is_let_in_whatever_a_rules_ports_are(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, Rule(id=1, sources=(20,), destinations=(10,), ports=((22, 22),)))
    assert admits(limited, IP(src=PEER, dst=OWN) / ICMP(type=8, id=7) / b"12345678")
    assert admits(limited, IPv6(src=PEER6, dst=OWN6) / ICMPv6EchoRequest(id=7))
    assert not admits(filtering(kit, clock, SSH), IP(src=PEER, dst=OWN) / ICMP(type=8, id=7) / b"12345678")


def test_an_error_about_an_answer_is_admitted_while_its_flow_is(kit: Any, clock: ManualClock) -> None:
    held, filter_ = network(kit, SSH), MapFilter(clock)
    filter_.update(held, held.nodes[1])
    assert admits(filter_, tcp(PEER, OWN, 40000, 22))
    answer = bytes(tcp(OWN, PEER, 22, 40000))
    too_big = IP(src=PEER, dst=OWN) / ICMP(type=3, code=4) / Raw(answer[:28])
    assert admits(filter_, too_big)
    changed(filter_, held, removed_rules=(1,))
    assert not admits(filter_, too_big)


def test_a_fragment_in_the_midst_of_a_tcp_header_is_refused(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, SSH)
    first = bytes(IP(src=PEER, dst=OWN, id=5, flags="MF") / TCP(dport=22) / bytes(8))
    overwriting = bytes(IP(src=PEER, dst=OWN, id=5, proto=6, frag=1) / bytes(16))
    later = bytes(IP(src=PEER, dst=OWN, id=5, proto=6, frag=4) / bytes(16))
    assert limited.admit(2, [first, overwriting, later]) == [first, later]


def test_a_known_flow_is_known_by_its_whole_head(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock, SSH)
    good = bytes(tcp(PEER, OWN, 40000, 22))
    assert limited.admit(2, [good] * 3) == [good] * 3
    bad = bytes(tcp(PEER, OWN, 40000, 23))
    assert limited.admit(2, [good, bad, good, b""]) == [good, good]
    assert limited.admit(3, [good]) == []
    assert (limited.denied, limited.malformed) == (2, 1)


def test_while_the_system_filters_all_passes(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock)
    limited.delegated = True
    burst = [b"anything at all"]
    assert limited.admit(2, burst) is burst


def test_counters_are_there_to_be_read(kit: Any, clock: ManualClock) -> None:
    limited, metrics = filtering(kit, clock, SSH), Metrics()
    limited.register(metrics)
    limited.admit(2, [bytes(tcp(PEER, OWN, 1, 22)), bytes(tcp(PEER, THIRD, 1, 22)), b"", bytes(tcp(PEER, OWN, 1, 2))])
    assert list(metrics.values().values()) == [3, 1, 1, 0, 1]


def test_an_icmp_error_about_a_flow_comes_by_the_way_of_that_flow_alone(kit: Any, clock: ManualClock) -> None:
    limited = filtering(kit, clock)
    sent = tcp(OWN, THIRD, 40000, 443)
    limited.record([bytes(sent)])
    error = IP(src=PEER, dst=OWN) / ICMP(type=3, code=4, nexthopmtu=68) / bytes(sent)
    assert not admits(limited, error, peer=2)
    assert admits(limited, IP(src=THIRD, dst=OWN) / ICMP(type=3, code=4) / bytes(sent), peer=3)


def test_an_icmp_error_about_hosts_behind_a_router_comes_from_that_router(kit: Any, clock: ManualClock) -> None:
    limited, held = MapFilter(clock), network(kit)
    route = MapRoute(id=1, prefix="10.1.0.0/16", router=3)
    held.apply(MapChange(cursor=Cursor(2, b"m"), routes=(route,)))
    limited.update(held, held.nodes[1])
    sent = tcp(OWN, "10.1.0.7", 40000, 443)
    limited.record([bytes(sent)])
    error = IP(src="10.1.0.1", dst=OWN) / ICMP(type=11) / bytes(sent)
    assert admits(limited, error, peer=3)
    assert not admits(limited, error, peer=2)
