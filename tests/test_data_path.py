"""The packet path as the architecture promises it: no hook, no import, no plaintext outside, nothing unbounded."""

import asyncio
import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pluggy
import pytest

from ghostwire.errors import Unavailable
from ghostwire.testing import Link, MemoryTransport, Network, packets, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.streams import MemoryStream
from ghostwire.wire.jointoken import JoinToken

MARK = b"a plaintext that must stay inside "
PORT = 5000


@contextmanager
def counting_imports() -> Iterator[list[str]]:
    """The names that anything imports meanwhile, also what is imported already."""
    imported: list[str] = []
    real = builtins.__import__

    def counted(name: str, *arguments: Any, **keywords: Any) -> Any:
        imported.append(name)
        return real(name, *arguments, **keywords)

    builtins.__import__ = counted
    try:
        yield imported
    finally:
        builtins.__import__ = real


@pytest.fixture
def hook_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every call of any hook of any plugin manager in this process."""
    calls: list[str] = []
    real = pluggy.HookCaller.__call__

    def counted(self: pluggy.HookCaller, **arguments: object) -> Any:
        if self.name.startswith("ghostwire_"):
            calls.append(self.name)
        return real(self, **arguments)

    monkeypatch.setattr(pluggy.HookCaller, "__call__", counted)
    run = pluggy.PluginManager._hookexec

    def executed(self: pluggy.PluginManager, name: str, *arguments: Any) -> Any:
        if name.startswith("ghostwire_"):
            calls.append(name)
        return run(self, name, *arguments)

    monkeypatch.setattr(pluggy.PluginManager, "_hookexec", executed)
    return calls


async def pair(mesh: MemoryMesh) -> tuple[MemoryNode, MemoryNode]:
    alice, bob = await mesh.join("alice"), await mesh.join("bob")
    await mesh.converged()
    return alice, bob


async def exchange(alice: MemoryNode, bob: MemoryNode, count: int) -> None:
    """Payloads both ways over both families, each awaited."""
    one, other = alice.device.udp(PORT), bob.device.udp(PORT)
    for number in range(count):
        family = number % 2
        one.send(bob.addresses[family], PORT, MARK + number.to_bytes(4, "big"))
        got = await other.receive()
        other.send(got.source, got.port, got.data[::-1])
        await one.receive()


@simulated
async def test_no_hook_is_called_once_the_program_is_composed(hook_calls: list[str]) -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        hook_calls.clear()
        await exchange(alice, bob, 100)
        await asyncio.sleep(200)
        await exchange(alice, bob, 100)
        alice.host.move("203.0.113.7")
        await exchange(alice, bob, 100)
        assert hook_calls == []


def test_the_count_of_hook_calls_can_count(hook_calls: list[str]) -> None:
    class Specifications:
        @pluggy.HookspecMarker("ghostwire")
        def ghostwire_pigeons(self) -> None: ...

    manager = pluggy.PluginManager("ghostwire")
    manager.add_hookspecs(Specifications)
    manager.hook.ghostwire_pigeons()
    assert "ghostwire_pigeons" in hook_calls


@simulated
async def test_nothing_is_imported_while_packets_flow() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        await exchange(alice, bob, 2)
        with counting_imports() as imported:
            await exchange(alice, bob, 100)
        assert imported == []


def test_the_count_of_imports_can_count() -> None:
    with counting_imports() as imported:
        import json  # noqa: F401
    assert imported == ["json"]


class Wiretap:
    """Everything that crosses the network: datagrams, and what streams carry."""

    def __init__(self, network: Network) -> None:
        self.datagrams: list[bytes] = []
        self.streamed: list[bytes] = []
        network.taps.append(lambda host, target, payload: self.datagrams.append(payload))
        self._network = network

    def streams(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Listen in on streams too."""
        write = MemoryStream.write
        streamed = self.streamed

        def overheard(stream: MemoryStream, data: bytes) -> None:
            streamed.append(bytes(data))
            write(stream, data)

        monkeypatch.setattr(MemoryStream, "write", overheard)

    def holds(self, secret: bytes) -> bool:
        """Whether the secret was seen, in one piece or across two writes."""
        return any(secret in payload for payload in self.datagrams) or secret in b"".join(self.streamed)


def private_keys(node: MemoryNode) -> Iterator[bytes]:
    """The node's private keys, as bytes, from its own files."""
    for name in ("machine", "node", "disco"):
        yield bytes.fromhex((node.folder / f"{name}.key").read_text().strip())


@simulated
async def test_transports_see_only_ciphertext_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with MemoryMesh() as mesh:
        tap = Wiretap(mesh.network)
        tap.streams(monkeypatch)
        alice, bob = await pair(mesh)
        await exchange(alice, bob, 50)
        await asyncio.sleep(200)
        await exchange(alice, bob, 50)
        secrets = [MARK, MARK[::-1], *private_keys(alice), *private_keys(bob)]
        assert len(tap.datagrams) > 200
        assert len(tap.streamed) > 10
        for secret in secrets:
            assert not tap.holds(secret)
            assert not tap.holds(secret.hex().encode())


@simulated
async def test_public_node_keys_are_not_seen_on_the_datagram_network_either() -> None:
    async with MemoryMesh() as mesh:
        tap = Wiretap(mesh.network)
        alice, bob = await pair(mesh)
        await exchange(alice, bob, 10)
        for node in (alice, bob):
            own = node.status.own
            assert own is not None
            assert not tap.holds(own.node_key.raw)


@simulated
async def test_the_join_token_never_crosses_the_network_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    async with MemoryMesh() as mesh:
        token, node = await mesh.server.token(), await mesh.add("node")
        tap = Wiretap(mesh.network)
        tap.streams(monkeypatch)
        await node.node.up(token)
        secret = JoinToken.parse(token).secret
        assert len(secret) > 20
        assert tap.streamed
        assert not tap.holds(secret.encode())
        assert not tap.holds(token.encode())


@simulated
async def test_a_wiretap_would_hear_what_is_said_in_the_clear() -> None:
    network = Network()
    one, other = network.host("one", "192.0.2.1"), network.host("other", "192.0.2.2")
    tap = Wiretap(network)
    transport = MemoryTransport(one)
    await transport.start(lambda source, burst: None)
    transport.path(f"{other.addresses[0]}:1").send([b"..." + MARK])
    assert tap.holds(MARK)


@simulated
async def test_every_payload_arrives_once_whole_and_in_order_on_a_good_network() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        await alice.ping(bob)
        port = bob.device.udp(PORT)
        sent = [number.to_bytes(2, "big") * (1 + number % 600) for number in range(500)]
        for number, payload in enumerate(sent):
            alice.device.udp(PORT).send(bob.addresses[0], PORT, payload)
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert [received.data for received in port.waiting()] == sent


def counters(node: MemoryNode) -> dict[str, float]:
    return dict(node.status.counters)


@simulated
async def test_packets_for_a_peer_that_cannot_be_reached_wait_in_a_bounded_queue() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        address = bob.addresses[0]
        mesh.network.partition([alice.host])
        for _ in range(100):
            for _ in range(64):
                alice.device.udp(PORT).send(address, PORT, bytes(1000))
            await asyncio.sleep(0.01)
        dropped = sum(value for name, value in counters(alice).items() if "_dropped_" in name)
        assert dropped >= 6400 - 1024, f"6400 packets for a peer that is away, and only {dropped} were dropped"
        mesh.network.heal()
        await alice.reach(bob)


@simulated
async def test_a_flood_of_forged_initiations_takes_a_bounded_share_and_sessions_go_on() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        await alice.ping(bob)
        captured: list[bytes] = []
        mesh.network.taps.append(lambda host, target, payload: captured.append(payload))
        await asyncio.sleep(200)
        await alice.ping(bob)
        initiation = next(payload for payload in captured if payload[:1] == b"\1")
        stranger = mesh.network.host("stranger", "203.0.113.66").bind(1, lambda source, burst: None)
        before = counters(bob)["ghostwire_tunnel_computed_total"]
        for number in range(40):
            forged = [initiation[:8] + number.to_bytes(4, "big") + initiation[12:]] * 64
            stranger.send((bob.host.addresses[0], 41641), forged)
            await asyncio.sleep(0.001)
        await alice.ping(bob)
        computed = counters(bob)["ghostwire_tunnel_computed_total"] - before
        assert computed < 300, f"{computed} handshakes were computed for 2560 forged ones"


@simulated
async def test_a_receiver_that_is_flooded_drops_and_counts() -> None:
    network = Network()
    network.default = Link()
    hosts = [network.host(f"host{number}", f"192.0.2.{number}") for number in (1, 2)]
    transports = [MemoryTransport(host) for host in hosts]
    got: list[int] = []
    for transport in transports:
        await transport.start(lambda source, burst: got.append(len(burst)))
    path = transports[0].path(transports[1].endpoints()[0])
    answers = [path.send([bytes(100)] * 64) for _ in range(200)]
    await asyncio.sleep(1)
    assert not all(answers), "a send into a full queue must answer False"
    assert 0 < sum(got) < 200 * 64
    assert max(got) <= 64


@simulated
async def test_a_packet_that_no_peer_owns_and_one_that_is_too_long_are_dropped_and_counted() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        await alice.ping(bob)
        before = counters(alice)
        own = alice.addresses[0]
        alice.device.inject(packets.udp_packet(own, "100.64.99.99", packets.Datagram(1, 2, b"lost")))
        alice.device.inject(packets.udp_packet(own, bob.addresses[0], packets.Datagram(1, 2, bytes(3000))))
        alice.device.inject(b"\xff" * 40)
        await alice.ping(bob)
        after = counters(alice)
        for name in ("no_peer", "oversized"):
            key = f"ghostwire_tunnel_dropped_{name}_total"
            assert after[key] > before[key], name


@simulated
async def test_a_peer_that_is_gone_costs_no_more_than_retries() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await pair(mesh)
        await alice.ping(bob)
        await bob.kill()
        mesh.network.trace.clear()
        with pytest.raises(Unavailable):
            await alice.reach(bob, timeout=300)
        initiations = [seen for seen in mesh.network.trace if seen.payload[:1] == b"\1"]
        assert len(initiations) < 80, f"{len(initiations)} initiations to a dead peer in five minutes"
