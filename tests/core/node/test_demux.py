"""Telling apart what arrives."""

import os
from typing import Any

import pytest

from ghostwire import Metrics
from ghostwire.node.demux import Demux

DATA = b"\x04\0\0\0" + bytes(28)
STUN_BINDING = bytes.fromhex("0001000821 12a442 000102030405060708090a0b") + bytes(8)
STUN_ANSWER = bytes.fromhex("0101000821 12a442 000102030405060708090a0b") + bytes(8)
DISCO = b"TS\xf0\x9f\x92\xac" + bytes(64)


def _ignore(source: Any, datagram: Any) -> None:
    """Nobody waits for it."""


@pytest.fixture
def arrived() -> list[tuple[Any, list[bytes]]]:
    return []


@pytest.fixture
def demux(arrived: list[tuple[Any, list[bytes]]]) -> Demux:
    return Demux(
        lambda source, datagrams: arrived.append((source, [bytes(each) for each in datagrams])), _ignore, _ignore
    )


def test_a_burst_of_data_is_passed_on_as_it_is(demux: Demux, kit: Any) -> None:
    burst, seen = [memoryview(DATA)] * 64, []
    Demux(lambda source, datagrams: seen.append(datagrams), _ignore, _ignore).receive(kit.Path("a"), burst)
    assert seen[0] is burst


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_every_wireguard_message_goes_to_the_tunnel(demux: Demux, arrived: list[Any], kit: Any, kind: int) -> None:
    message = bytes([kind, 0, 0, 0]) + os.urandom(60)
    demux.receive(kit.Path("a"), [DATA, memoryview(message)])
    assert arrived == [(kit.Path("a"), [DATA, message])]


def test_the_rest_is_counted_and_never_reaches_the_tunnel(demux: Demux, arrived: list[Any], kit: Any) -> None:
    metrics = Metrics()
    demux.register(metrics)
    demux.receive(kit.Path("a"), [STUN_BINDING, DISCO, b"", b"\x01", STUN_ANSWER, b"GET / HTTP/1.1", b"\x04\0\0\1x"])
    assert arrived == []
    assert metrics.values() == {
        "ghostwire_node_stun_datagrams_total": 2,
        "ghostwire_node_disco_datagrams_total": 1,
        "ghostwire_node_unknown_datagrams_total": 4,
    }


def test_a_mixed_burst_loses_only_what_is_foreign(demux: Demux, arrived: list[Any], kit: Any) -> None:
    demux.receive(kit.Path("a"), [DATA, DISCO, DATA, b""])
    assert arrived == [(kit.Path("a"), [DATA, DATA])]


def test_stun_and_disco_go_to_whom_they_are_for(kit: Any) -> None:
    stun: list[bytes] = []
    disco: list[bytes] = []
    demux = Demux(
        lambda source, datagrams: None,
        lambda source, datagram: stun.append(bytes(datagram)),
        lambda source, datagram: disco.append(bytes(datagram)),
    )
    demux.receive(kit.Path("a"), [DATA, STUN_ANSWER, DISCO])
    assert (stun, disco) == ([STUN_ANSWER], [DISCO])
