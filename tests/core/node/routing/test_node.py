"""A whole node in virtual time: what its tunnel and its system get of routes, and what people are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from ghostwire import NetworkConfig, TunnelPeer
from ghostwire.errors import NotFound, PlatformError, StateError, UsageError
from ghostwire.model import Cursor, MapChange, MapRelay, MapRoute
from ghostwire.node.routing.advertised import Offered
from ghostwire.node.status import Status
from ghostwire.testing import simulated
from ghostwire.wire.messages import Report

LAN, LAN6 = "10.1.0.0/16", "fd00:77::/48"
BOTH = ("0.0.0.0/0", "::/0")
OWN = 1


def say(rig: Any, *routes: MapRoute, **more: Any) -> None:
    rig.server.channel.say(MapChange(cursor=Cursor(6, b"n"), routes=routes, **more))


def offer(id_: int, router: int, *prefixes: str, down: bool = False) -> list[MapRoute]:
    return [MapRoute(id=id_ + n, prefix=prefix, router=router, down=down) for n, prefix in enumerate(prefixes)]


async def with_routes(kit: Any, *routes: MapRoute, **overrides: Any) -> tuple[Any, Any]:
    rig = kit.rig(overrides=overrides)
    node = await rig.joined()
    say(rig, *routes)
    await asyncio.sleep(1)
    return rig, node


def beyond(rig: Any) -> tuple[str, ...]:
    """The system's routes beyond the mesh."""
    return tuple(text for text in rig.platform.config.routes if text not in kit_routes(rig))


def kit_routes(rig: Any) -> Sequence[str]:
    return ("100.64.0.0/10", "fd00:1:2::/48")


def peer(rig: Any, id_: int) -> TunnelPeer:
    found: TunnelPeer = rig.tunnel.peers[id_]
    return found


def states(status: Status) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in status.routing.routes:
        found.setdefault(each.prefix, []).append(f"{each.router} {each.state}")
    return found


@simulated
async def test_routes_of_the_map_reach_tunnel_and_system(kit: Any) -> None:
    rig, node = await with_routes(kit, *offer(5, 2, LAN, LAN6), *offer(8, 3, LAN))
    assert set(peer(rig, 2).allowed_ips) >= {ip_network(LAN), ip_network(LAN6)}
    assert peer(rig, 3).accepts == (ip_network(LAN),)
    assert ip_network(LAN) not in peer(rig, 3).allowed_ips
    assert beyond(rig) == (LAN, LAN6)
    assert states(node.status()) == {LAN: ["node2 in use", "node3 standby"], LAN6: ["node2 in use"]}
    say(rig, removed_routes=(5,))
    await asyncio.sleep(1)
    assert ip_network(LAN) in peer(rig, 3).allowed_ips
    await node.close()


@simulated
async def test_who_accepts_no_routes_uses_none_and_says_so(kit: Any) -> None:
    rig, node = await with_routes(kit, *offer(5, 2, LAN), accept_routes=False)
    assert beyond(rig) == ()
    assert states(node.status()) == {LAN: ["node2 not accepted"]}
    await node.routes.accept(True)
    assert beyond(rig) == (LAN,)
    await node.close()
    rig.server.down = ConnectionError("away")
    again = rig.node()
    await again.start()
    await asyncio.sleep(1)
    assert again.status().routing.accepts
    assert beyond(rig) == (LAN,)
    await again.close()


@simulated
async def test_what_would_cut_this_node_off_is_refused_logged_once_and_shown(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def lookup(host: str) -> Sequence[str]:
        if host != "server.example":
            raise OSError(host)
        return ["203.0.113.1"]

    rig = kit.rig(overrides={"lookup": lookup, "resolvers": lambda: ["9.9.9.9", "127.0.0.53"]})
    node = await rig.joined()
    relay = MapRelay(id=1, name="fra", region=1, region_name="fra", host="192.0.2.44")
    prefixes = ("203.0.113.0/24", "192.0.2.0/24", "9.9.9.0/24", "100.64.7.0/24", LAN)
    say(rig, *offer(5, 2, *prefixes), relays=(relay,))
    await asyncio.sleep(1)
    assert beyond(rig) == (LAN,)
    shown = {each.prefix: each.why for each in node.status().routing.routes if each.state == "refused"}
    assert shown == {
        "203.0.113.0/24": "it holds 203.0.113.1, the mesh's server",
        "192.0.2.0/24": "it holds 192.0.2.44, the relay fra",
        "9.9.9.0/24": "it holds 9.9.9.9, this machine's resolver",
        "100.64.7.0/24": "it lies in the mesh's own 100.64.0.0/10",
    }
    say(rig, *offer(50, 3, LAN))
    await asyncio.sleep(1)
    assert sum("9.9.9.0/24 is not used" in record.getMessage() for record in caplog.records) == 1
    await node.close()


@simulated
async def test_an_exit_node_is_used_by_the_system_first_and_by_the_tunnel_then(kit: Any) -> None:
    rig, node = await with_routes(kit, *offer(5, 2, *BOTH))
    order: list[str] = []
    configure, apply = rig.platform.configure, rig.tunnel.apply

    async def configured(network: NetworkConfig) -> None:
        await asyncio.sleep(1)
        order.append("system" if "0.0.0.0/0" in network.routes else "system without")
        await configure(network)

    def applied(peers: Any) -> None:
        order.append("tunnel" if any(ip_network("::/0") in each.allowed_ips for each in peers) else "tunnel without")
        apply(peers)

    rig.platform.configure, rig.tunnel.apply = configured, applied
    chosen = await node.routes.use("node2", lan=True)
    assert order == ["system", "tunnel"]
    assert (chosen.exit_node.name, chosen.exit_node.trouble) == ("node2", "")
    assert beyond(rig) == BOTH
    assert rig.platform.config.lan
    await node.routes.off()
    assert beyond(rig) == ()
    await node.close()


@simulated
async def test_an_exit_node_that_is_gone_keeps_all_in_and_is_said_loudly_over_restarts(kit: Any) -> None:
    rig, node = await with_routes(kit, *offer(5, 2, *BOTH))
    await node.routes.use("100.64.0.2", lan=None)
    say(rig, removed_nodes=(2,))
    await asyncio.sleep(1)
    assert beyond(rig) == BOTH
    assert "gwctl exit-node off" in node.status().routing.exit_node.trouble
    await node.close()
    kept = json.loads((rig.state / "routing.json").read_text())
    assert kept["exit_node"]["stable_id"] == "stable2"
    assert (rig.state / "routing.json").stat().st_mode & 0o777 == 0o600
    again = rig.node()
    rig.server.down = ConnectionError("away")
    await again.start()
    await asyncio.sleep(1)
    assert beyond(rig) == BOTH
    assert again.status().routing.exit_node.trouble
    await again.close()


@simulated
async def test_an_exit_node_that_comes_back_is_used_again(kit: Any) -> None:
    rig, node = await with_routes(kit, *offer(5, 2, *BOTH))
    await node.routes.use("node2", lan=None)
    say(rig, removed_nodes=(2,), removed_routes=(5, 6))
    await asyncio.sleep(1)
    say(rig, *offer(5, 2, *BOTH), nodes=(kit.map_node(2),))
    await asyncio.sleep(1)
    assert set(map(str, peer(rig, 2).allowed_ips)) >= set(BOTH)
    assert node.status().routing.exit_node.trouble == ""
    await node.close()


@simulated
async def test_who_offers_half_an_internet_is_no_exit_node(kit: Any) -> None:
    _, node = await with_routes(kit, *offer(5, 2, "0.0.0.0/0"))
    assert node.routes.exits() == []
    with pytest.raises(NotFound, match="gwctl exit-node list"):
        await node.routes.use("node2", lan=None)
    with pytest.raises(UsageError, match="gwctl route advertise exit"):
        await node.routes.suggest()
    await node.close()


@simulated
async def test_the_nearest_exit_node_is_suggested(kit: Any) -> None:
    _, node = await with_routes(kit, *offer(5, 3, *BOTH), *offer(8, 2, *BOTH))
    assert [each.name for each in node.routes.exits()] == ["node2", "node3"]
    best = await node.routes.suggest()
    assert (best.name, best.latency_ms, best.measured) == ("node2", 12.5, "path")
    await node.close()


@simulated
async def test_a_system_that_refuses_an_exit_node_is_left_as_it_was(kit: Any) -> None:
    rig, node = await with_routes(kit, *offer(5, 2, *BOTH))
    configure = rig.platform.configure

    async def refused(network: NetworkConfig) -> None:
        if "::/0" in network.routes:
            raise PlatformError("no policy routing here")
        await configure(network)

    rig.platform.configure = refused
    with pytest.raises(PlatformError, match="no policy routing"):
        await node.routes.use("node2", lan=None)
    assert node.status().routing.exit_node is None
    await node.close()


@simulated
async def test_what_is_offered_is_reported_and_once_approved_passed_on(kit: Any) -> None:
    rig = kit.rig(overrides={"offered": Offered((LAN,), snat=False)})
    node = await rig.joined()
    await node.routes.advertise("exit")
    await asyncio.sleep(1)
    assert rig.server.channel.heard(Report)[-1].routes == ("0.0.0.0/0", LAN, "::/0")
    assert rig.platform.config.forwarding is None
    assert {each.state for each in node.status().routing.advertised} == {"waiting"}
    say(rig, *offer(5, OWN, LAN))
    await asyncio.sleep(1)
    assert rig.platform.config.forwarding.prefixes == (LAN,)
    assert not rig.platform.config.forwarding.masquerade
    with pytest.raises(UsageError, match="routes in"):
        await node.routes.withdraw(LAN)
    await node.routes.withdraw("exit")
    assert rig.server.channel.heard(Report)[-1].routes == (LAN,)
    await node.close()


@simulated
async def test_what_this_machine_cannot_reach_is_reported_within_seconds(kit: Any) -> None:
    rig = kit.rig(overrides={"offered": Offered((LAN,))})
    node = await rig.joined()
    rig.platform.unreachable.add(LAN)
    await asyncio.sleep(4)
    assert rig.server.channel.heard(Report)[-1].down == (LAN,)
    assert [each.state for each in node.status().routing.advertised] == ["down"]
    rig.platform.unreachable.clear()
    await asyncio.sleep(4)
    assert rig.server.channel.heard(Report)[-1].down == ()
    await node.close()


@simulated
async def test_a_node_that_is_down_says_that_it_reaches_nothing(kit: Any) -> None:
    rig = kit.rig(overrides={"offered": Offered((LAN,))})
    node = await rig.joined()
    await node.down()
    await node.up()
    assert rig.server.channel.heard(Report)[-1].down == ()
    await node.close()


@simulated
async def test_logging_out_forgets_exit_node_and_offers(kit: Any) -> None:
    _, node = await with_routes(kit, *offer(5, 2, *BOTH))
    await node.routes.use("node2", lan=None)
    await node.routes.advertise("192.168.0.0/24")
    await node.down(logout=True)
    report = node.routes.report()
    assert (report.exit_node, report.advertised) == (None, ())
    await node.close()


@pytest.mark.parametrize("wrong", ["10.1.0.0/8", "127.0.0.0/8", "nonsense", "10.1.0.0/33"])
@simulated
async def test_nonsense_is_not_offered(kit: Any, wrong: str) -> None:
    rig = kit.rig()
    node = await rig.joined()
    with pytest.raises(UsageError):
        await node.routes.advertise(wrong)
    with pytest.raises((UsageError, NotFound)):
        await node.routes.withdraw(wrong)
    await node.close()


def test_preferences_that_cannot_be_read_end_the_start_in_one_line(kit: Any) -> None:
    (kit.state / "routing.json").write_text('{"advertised": ["10.1.0.0/8"]}')

    @simulated
    async def start() -> None:
        with pytest.raises(StateError, match=r"routing\.json.*restore it, or remove it"):
            kit.rig().node()

    start()


@simulated
async def test_a_private_resolver_is_named_when_an_exit_node_is_chosen(kit: Any) -> None:
    _, node = await with_routes(kit, *offer(5, 2, *BOTH), resolvers=lambda: ["192.168.1.1", "9.9.9.9"])
    chosen = await node.routes.use("node2", lan=False)
    assert "192.168.1.1" in chosen.notes[0]
    assert "--lan" in chosen.notes[0]
    await node.close()


@simulated
async def test_a_changed_map_makes_one_change_of_the_tunnel(kit: Any) -> None:
    rig, node = await with_routes(kit)
    applied = rig.tunnel.applied
    say(rig, *offer(5, 4, LAN), nodes=(kit.map_node(4),))
    await asyncio.sleep(1)
    assert rig.tunnel.applied == applied + 1
    assert ip_network(LAN) in peer(rig, 4).allowed_ips
    say(rig, nodes=(msgspec.structs.replace(kit.map_node(4), name="other"),))
    await asyncio.sleep(1)
    assert rig.tunnel.applied == applied + 1
    await node.close()
