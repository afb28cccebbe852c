"""Remembered flows: bounded, each kind by itself, in order of use."""

from scapy.layers.inet import IP, TCP, UDP

from ghostwire.engine import SECOND
from ghostwire.node.flows import OTHER_IDLE, TCP_IDLE, Flows, Fragments
from ghostwire.node.packet import Packet, parse
from ghostwire.node.shortcuts import Shortcuts, heads

A, B = "100.64.0.1", "100.64.0.2"


def udp(source: str, target: str, sport: int, dport: int) -> Packet:
    packet = parse(bytes(IP(src=source, dst=target) / UDP(sport=sport, dport=dport)))
    assert packet is not None
    return packet


def test_thousands_of_flows_fit_and_no_more() -> None:
    flows = Flows(1000)
    for port in range(5000):
        flows.leaving(udp(A, B, port, 53), port)
        flows.begun(2, udp(B, A, port, 80), port)
    assert len(flows) == 2000


def test_a_peer_that_begins_many_flows_pushes_out_none_of_this_nodes() -> None:
    flows = Flows(8)
    flows.leaving(udp(A, B, 1, 53), 0)
    for port in range(1000):
        flows.begun(2, udp(B, A, port, 80), 0)
    assert flows.answered(udp(B, A, 53, 1), 0)


def test_what_is_used_outlives_what_is_not() -> None:
    flows = Flows(4)
    for port in range(4):
        flows.leaving(udp(A, B, port, 53), port)
    for now in range(10, 20):
        assert flows.answered(udp(B, A, 53, 2), now)
        flows.leaving(udp(A, B, 1000 + now, 53), now)
    assert flows.answered(udp(B, A, 53, 2), 20)
    assert not flows.answered(udp(B, A, 53, 1), 20)


def test_where_all_are_used_one_makes_room_nevertheless() -> None:
    flows = Flows(50)
    for port in range(50):
        flows.leaving(udp(A, B, port, 53), 0)
        flows.leaving(udp(A, B, port, 53), 1)
    flows.leaving(udp(A, B, 99, 53), 2)
    assert len(flows) == 50
    assert flows.answered(udp(B, A, 53, 99), 2)


def test_a_flow_that_made_room_is_dead_for_whoever_still_knows_it() -> None:
    flows = Flows(1)
    first = flows.leaving(udp(A, B, 1, 53), 0)
    flows.leaving(udp(A, B, 2, 53), 0)
    assert first is not None
    assert not first.touch(0)


def test_tcp_may_be_silent_for_longer() -> None:
    flows = Flows()
    syn = parse(bytes(IP(src=A, dst=B) / TCP(sport=1, dport=2, flags="S")))
    assert syn is not None
    flows.leaving(syn, 0)
    flows.leaving(udp(A, B, 1, 2), 0)
    assert flows.answered(syn.reversed(), TCP_IDLE - SECOND)
    assert not flows.answered(udp(B, A, 2, 1), OTHER_IDLE)


def test_the_fragmented_datagrams_that_are_remembered_are_bounded() -> None:
    fragments = Fragments(10)
    for number in range(100):
        packet = parse(bytes(IP(src=B, dst=A, id=number, flags="MF") / UDP() / bytes(8)))
        assert packet is not None
        fragments.began(2, packet, 0)
    assert len(fragments) == 10


def test_shortcuts_are_bounded_and_forgotten_by_peer() -> None:
    flows, shortcuts = Flows(), Shortcuts(100)
    for number in range(1000):
        packet = bytes(IP(src=B, dst=A) / UDP(sport=number))
        (head,), read = heads([packet]), parse(packet)
        assert head is not None
        assert read is not None
        flow = flows.begun(2, read, 0)
        assert flow is not None
        shortcuts.add(number % 5, head, flow)
        assert len(shortcuts) <= 100
    assert not shortcuts.unknown(number % 5, [head], 0)
    assert shortcuts.unknown((number + 1) % 5, [head], 0) == {head}
    shortcuts.forget([number % 5])
    assert shortcuts.unknown(number % 5, [head], 0) == {head}
    shortcuts.forget()
    assert len(shortcuts) == 0


def test_a_peer_that_begins_many_flows_pushes_out_its_own_alone() -> None:
    flows = Flows(100)
    for port in range(10):
        flows.begun(2, udp(B, A, port, 80), 0)
    for port in range(5000):
        flows.begun(3, udp("100.64.0.3", A, port, 80), port)
    answers = [flows.leaving(udp(A, B, 80, port), 6000) for port in range(10)]
    assert [flow is not None and flow.peer for flow in answers] == [2] * 10
    assert len(flows) == 100


def test_who_begins_few_flows_finds_room_among_those_of_many_greedy_peers() -> None:
    flows = Flows(64)
    for port in range(1000):
        for peer in (3, 4, 5):
            flows.begun(peer, udp(f"100.64.0.{peer}", A, port, 80), port)
    first = [flows.begun(2, udp(B, A, port, 80), 2000) for port in range(8)]
    for port in range(1000):
        for peer in (3, 4, 5):
            flows.begun(peer, udp(f"100.64.0.{peer}", A, port, 90), 3000)
    assert all(flow is not None and flow.touch(3000) for flow in first)
    assert len(flows) == 64


def test_a_peer_that_sends_many_fragments_pushes_out_its_own_alone() -> None:
    fragments = Fragments(10)

    def part(number: int, source: str, **place: int | str) -> Packet:
        packet = parse(bytes(IP(src=source, dst=A, id=number, proto=17, **place) / bytes(16)))
        assert packet is not None
        return packet

    fragments.began(2, part(1, B, flags="MF"), 0)
    for number in range(100):
        fragments.began(3, part(number, "100.64.0.3", flags="MF"), 0)
    assert fragments.follow(2, part(1, B, frag=2), 0)
    assert not fragments.follow(3, part(1, B, frag=2), 0)
    fragments.forget([2])
    assert not fragments.follow(2, part(1, B, frag=2), 0)
