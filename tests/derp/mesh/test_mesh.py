"""Relays of a region are one: over real streams on loopback."""

from __future__ import annotations

import asyncio

import pytest

from ghostwire import Siblings
from ghostwire.keys import RelayKey
from ghostwire_derp import frames

from .conftest import MESH_KEY, Region, links, until


async def test_clients_of_two_relays_reach_each_other(region: Region) -> None:
    one, two = await region.relay(), await region.relay()
    region.introduce()
    await until(lambda: links(one) == links(two) == 1)
    alice, bob = await region.client(one), await region.client(two)
    await alice.reach(bob)
    await bob.reach(alice)


async def test_who_goes_is_told_to_those_who_heard_him_elsewhere(region: Region) -> None:
    one, two = await region.relay(), await region.relay()
    region.introduce()
    alice, bob = await region.client(one), await region.client(two)
    await alice.reach(bob)
    await alice.close()
    assert await bob.gone() == alice.key


async def test_a_link_carries_packets_of_every_size_whole_and_in_order(region: Region) -> None:
    one, two = await region.relay(), await region.relay()
    region.introduce()
    alice, bob = await region.client(one), await region.client(two)
    await alice.reach(bob)
    sent = [bytes([size % 251]) * size for size in (0, 1, 62, 1400, 9000, 65536, 3)]
    for data in sent:
        alice.send(bob, data)
    assert [await bob.packet() for _ in sent] == [(alice.key, data) for data in sent]


async def test_a_packet_takes_one_step_between_relays_and_no_second(region: Region) -> None:
    """A knows B, B knows C, A does not know C: nothing may go round."""
    one, two, three = await region.relay(), await region.relay(), await region.relay()
    one.relaying.mesh_with(Siblings((region.record(two),), MESH_KEY))
    two.relaying.mesh_with(Siblings((region.record(three),), MESH_KEY))
    three.relaying.mesh_with(Siblings((), MESH_KEY))
    await until(lambda: links(one) == links(two) == 1)
    alice, bob, carol = [await region.client(relay) for relay in (one, two, three)]
    await bob.reach(carol)
    await alice.reach(bob)
    alice.send(carol, b"too far")
    await bob.reach(carol)
    assert bob.key != alice.key


async def test_a_node_that_moves_is_found_at_its_new_relay(region: Region) -> None:
    one, two, three = [await region.relay() for _ in range(3)]
    region.introduce()
    alice, bob = await region.client(one), await region.client(two)
    await alice.reach(bob)
    moved = await region.client(three, key=bob.private)
    await alice.reach(moved)
    await bob.close()
    await alice.reach(moved)


async def test_a_relay_that_comes_back_is_linked_again(region: Region, fast_retries: None) -> None:
    one, two = await region.relay(), await region.relay("two")
    region.introduce()
    await until(lambda: links(one) == 1)
    port = two.serving.door.port
    await two.close()
    await until(lambda: links(one) == 0)
    region.relays.remove(two)
    await region.relay("two", port=port)
    region.introduce()
    await until(lambda: links(one) == 1)
    alice, bob = await region.client(one), await region.client(region.relays[1])
    await bob.reach(alice)


async def test_a_sibling_that_is_no_more_is_linked_no_more(region: Region) -> None:
    one, two = await region.relay(), await region.relay()
    region.introduce()
    await until(lambda: links(one) == links(two) == 1)
    one.relaying.mesh_with(Siblings((), MESH_KEY))
    await until(lambda: links(one) == 0)
    assert links(two) == 1


async def test_a_wrong_mesh_key_is_refused_and_said(
    region: Region, fast_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await region.relay(), await region.relay()
    region.introduce()
    one.relaying.mesh_with(Siblings(one.relaying.siblings.relays, b"\x01" * 32))
    await until(lambda: "the same mesh key?" in caplog.text)
    assert links(one) == 0
    failures = one.serving.metrics.values()["ghostwire_relay_mesh_failures_total"]
    await until(lambda: one.serving.metrics.values()["ghostwire_relay_mesh_failures_total"] > failures + 2)
    warnings = [record for record in caplog.records if "the same mesh key?" in record.getMessage()]
    assert len(warnings) == len({record.args for record in warnings})
    assert two.relaying.siblings.mesh_key == MESH_KEY


async def test_this_relay_itself_is_left_alone(
    region: Region, fast_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one = await region.relay()
    one.relaying.mesh_with(Siblings((region.record(one),), MESH_KEY))
    one.relaying.mesh_with(Siblings((region.record(one, key=None, name="mirror"),), MESH_KEY))
    await until(lambda: "relay mirror is this relay itself" in caplog.text)
    assert one.serving.metrics.values()["ghostwire_relay_mesh_failures_total"] == 0


async def test_a_link_goes_through_tls_to_the_pinned_certificate_alone(
    region: Region, fast_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await region.relay(tls=False), await region.relay(tls=True)
    one.relaying.mesh_with(Siblings((region.record(two, certificate="00" * 32),), MESH_KEY))
    two.relaying.mesh_with(Siblings((), MESH_KEY))
    await until(lambda: "does not show the certificate" in caplog.text)
    region.introduce()
    await until(lambda: links(one) == links(two) == 1)


async def test_a_relay_with_another_key_than_recorded_is_not_linked(
    region: Region, fast_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await region.relay(), await region.relay()
    one.relaying.mesh_with(Siblings((region.record(two, key=RelayKey(b"\x09" * 32)),), MESH_KEY))
    await until(lambda: "another key than its record says" in caplog.text)
    await asyncio.sleep(0)
    assert links(one) == 0


async def test_nobody_without_the_mesh_key_watches_or_forwards(region: Region) -> None:
    one = await region.relay()
    one.relaying.mesh_with(Siblings((), MESH_KEY))
    mallory = await region.client(one)
    mallory.say(frames.WATCH_CONNS, b"")
    await mallory.ended()
    assert one.relaying.load().clients == 0
