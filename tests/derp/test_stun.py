"""The STUN server's engine under a flood, and its socket on loopback, on both event loops."""

from __future__ import annotations

import random
import socket
from typing import Any

import msgspec
import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import PlatformError
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing import ManualClock
from ghostwire.wire import stun
from ghostwire_derp.settings import Settings, split_address
from ghostwire_derp.source_buckets import SourceBuckets
from ghostwire_derp.stun import AT_ONCE, RATE, Responder, StunService

TRANSACTION = bytes(range(12))
REQUEST = stun.binding_request(TRANSACTION)


@pytest.fixture
def responder() -> Responder:
    return Responder(SourceBuckets(rate=RATE, burst=AT_ONCE, sources=1000))


def test_a_flood_from_one_address_is_cut_to_the_rate_and_costs_others_nothing(responder):
    clock, answered = ManualClock(), 0
    for _ in range(100):  # ten seconds of 5,000 requests a second
        for _ in range(500):
            answered += responder.answer(REQUEST, ("192.0.2.66", 9), clock.now()) is not None
        assert responder.answer(REQUEST, ("198.51.100.7", 41641), clock.now()) is not None
        clock.advance(100 * MILLISECOND)
    assert AT_ONCE + 9 * RATE <= answered <= AT_ONCE + 10 * RATE
    assert responder.limited == 50_000 - answered
    assert responder.answered == answered + 100


def test_a_flood_from_a_million_addresses_needs_no_more_memory(responder):
    chance = random.Random(3)
    for _ in range(5_000):
        source = f"2001:db8:{chance.randrange(65536):x}:{chance.randrange(65536):x}::1"
        assert responder.answer(REQUEST, (source, 9), SECOND) is not None
    assert len(responder._limits) == 1000


def test_rubbish_counts_against_its_sender(responder):
    for _ in range(AT_ONCE):
        assert responder.answer(b"rubbish", ("192.0.2.66", 9), SECOND) is None
    assert responder.answer(REQUEST, ("192.0.2.66", 9), SECOND) is None
    assert (responder.unsound, responder.limited, responder.answered) == (AT_ONCE, 1, 0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.0.0.0:3478", ("0.0.0.0", 3478)),
        (":3478", ("0.0.0.0", 3478)),
        ("[::1]:65535", ("::1", 65535)),
        ("192.0.2.1:0", ("192.0.2.1", 0)),
    ],
)
def test_the_setting_is_an_address_and_a_port(text, parts):
    assert split_address(text) == parts
    assert Settings(stun=text).stun == text


@pytest.mark.parametrize("text", ["3478", "relay.example.com:3478", "::1:3478", "[::1]", "0.0.0.0:65536", "0.0.0.0:x"])
def test_a_wrong_setting_names_its_key(text):
    with pytest.raises(msgspec.ValidationError, match="expected ADDRESS:PORT"):
        msgspec.convert({"stun": text}, Settings)


@pytest.fixture
def ask(stun_service, stun_client) -> Any:
    """``await ask(host, datagram)`` gives the answer and the address from which was asked."""

    async def ask(host: str, datagram: bytes = REQUEST) -> tuple[bytes, tuple[str, int]]:
        client = stun_client(host, stun_service.port)
        return await client.ask(datagram), client.address

    return ask


# 127.0.0.2 hears an answer only if it comes from the address that was asked, which is not the socket's default
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
async def test_a_client_learns_its_address(ask, host):
    answer, address = await ask(host)
    assert stun.mapped_address(answer) == (TRANSACTION, *address)


async def test_the_port_is_announced_and_answers_are_counted(stun_service, ask):
    await ask("127.0.0.1")
    assert stun_service.port > 0
    assert stun_service.metrics["ghostwire_stun_answers_total"] == 1


async def test_more_than_a_burst_is_answered_to_the_last(stun_service, stun_client):
    client = stun_client("127.0.0.1", stun_service.port)
    for number in range(150):
        client.socket.send(stun.binding_request(number.to_bytes(12, "big")))
    heard = {(await client.receive())[8:20] for _ in range(150)}
    assert heard == {number.to_bytes(12, "big") for number in range(150)}


async def test_rubbish_oversized_and_empty_datagrams_are_counted_and_hurt_nobody(stun_service, stun_client):
    client = stun_client("127.0.0.1", stun_service.port)
    for rubbish in (b"", b"rubbish", bytes(60_000), REQUEST + bytes(2_000)):
        client.socket.send(rubbish)
    assert stun.mapped_address(await client.ask(REQUEST)) is not None
    assert stun_service.metrics["ghostwire_stun_dropped_unsound_total"] == 4


async def test_nothing_listens_after_close(stun_service):
    await stun_service.service.close()
    free = SystemSockets().udp("0.0.0.0", stun_service.port)
    free.close()


async def test_a_port_in_use_is_said_in_one_line(stun_service, relay_context):
    port = stun_service.port
    with pytest.raises(PlatformError, match=f"UDP port {port} is in use; .*choose another port"):
        await StunService(relay_context(stun=f"127.0.0.1:{port}")).start()


class WithoutIPv6(SystemSockets):
    def udp(self, host: str, port: int) -> socket.socket:
        if ":" in host:
            raise PlatformError("no UDP socket for ::: Address family not supported by protocol")
        return super().udp(host, port)


async def test_a_machine_without_ipv6_serves_ipv4(relay_context, stun_client, caplog):
    context = relay_context(stun=":0", sockets=WithoutIPv6())
    service = StunService(context)
    await service.start()
    client = stun_client("127.0.0.1", context.relaying.announced[0])
    assert stun.mapped_address(await client.ask(REQUEST)) == (TRANSACTION, *client.address)
    assert "no STUN over IPv6" in caplog.text
    await service.close()


@pytest.mark.parametrize("options", [{"stun": ""}, {"stun": ":0", "first": False}])
async def test_without_an_address_and_in_further_workers_there_is_no_stun(relay_context, options):
    context = relay_context(**options)
    service = StunService(context)
    await service.start()
    await service.close()
    assert context.relaying.announced == []
    assert list(context.metrics) == []
