"""The map cache on disk."""

import asyncio
import logging
import stat
from typing import Any

import pytest

from ghostwire.keys import ControlKey, NodeKey
from ghostwire.model import Cursor, Endpoint, MapChange
from ghostwire.node.cache import Cached, MapCache
from ghostwire.testing import simulated
from ghostwire.uplink.cache import DELAY, LEISURE
from ghostwire.wire.messages import Welcome

NODE_KEY = NodeKey(bytes([1] * 32))
LOG = logging.getLogger("test")


def contents(kit: Any, revision: int = 5) -> Cached:
    return Cached(
        control_key=kit.CONTROL_KEY,
        node_key=NODE_KEY,
        welcome=Welcome(protocol=1, node=kit.map_node(1), domain="mesh.local", expires=77),
        map=MapChange(cursor=Cursor(revision, b"m", {"s": 3}), full=True, nodes=(kit.map_node(1), kit.map_node(2))),
        endpoints={2: (Endpoint("udp", "192.0.2.2:41641"),)},
    )


def cache(kit: Any, *written: Cached | None) -> MapCache:
    versions = iter(written)
    return MapCache(kit.state / "map.cache", lambda: next(versions), LOG)


@simulated
async def test_what_is_written_is_read_again(kit: Any) -> None:
    held = cache(kit, contents(kit))
    held.changed()
    held.flush()
    assert held.load_for(kit.CONTROL_KEY, NODE_KEY) == contents(kit)
    assert stat.S_IMODE((kit.state / "map.cache").stat().st_mode) == 0o600


@simulated
async def test_many_changes_cost_one_write(kit: Any) -> None:
    held = cache(kit, contents(kit, 5))  # a second write would raise StopIteration
    for _ in range(100):
        held.changed()
    await asyncio.sleep(DELAY + 0.1)
    loaded = held.load_for(kit.CONTROL_KEY, NODE_KEY)
    assert loaded is not None
    assert loaded.map.cursor.revision == 5
    held.flush()


@simulated
async def test_nothing_is_written_before_there_is_a_map(kit: Any) -> None:
    held = cache(kit, None)
    held.changed()
    held.flush()
    assert not (kit.state / "map.cache").exists()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"\x81\xa1"])
def test_a_damaged_file_is_dropped_with_one_line(kit: Any, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (kit.state / "map.cache").write_bytes(damage)
    assert cache(kit).load_for(kit.CONTROL_KEY, NODE_KEY) is None
    assert len(caplog.records) == 1
    assert "damaged" in caplog.text
    assert not (kit.state / "map.cache").exists()


@simulated
async def test_every_truncation_of_a_real_file_is_survived(kit: Any) -> None:
    held = cache(kit, contents(kit))
    held.changed()
    held.flush()
    whole = (kit.state / "map.cache").read_bytes()
    for length in range(0, len(whole), 7):
        (kit.state / "map.cache").write_bytes(whole[:length])
        assert held.load_for(kit.CONTROL_KEY, NODE_KEY) is None


@simulated
async def test_another_servers_or_node_keys_cache_is_not_used(kit: Any) -> None:
    held = cache(kit, contents(kit))
    held.changed()
    held.flush()
    assert held.load_for(ControlKey(bytes([8] * 32)), NODE_KEY) is None
    assert held.load_for(kit.CONTROL_KEY, NodeKey(bytes([2] * 32))) is None


@simulated
async def test_a_folder_that_cannot_be_written_costs_a_warning_only(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    held = MapCache(kit.state / "missing" / "map.cache", lambda: contents(kit), LOG)
    held.changed()
    await asyncio.sleep(DELAY + 0.1)
    assert "not written" in caplog.text


@simulated
async def test_what_is_no_great_loss_is_written_at_leisure_and_along_with_what_is(kit: Any) -> None:
    held = cache(kit, contents(kit, 5), contents(kit, 6))  # a third write would raise StopIteration
    for _ in range(20):
        held.changed(within=LEISURE)
        await asyncio.sleep(1)
    assert held.load() is None
    held.changed()
    held.changed(within=LEISURE)
    await asyncio.sleep(DELAY)
    assert held.load() == contents(kit, 5)
    held.changed(within=LEISURE)
    await asyncio.sleep(LEISURE)
    assert held.load() == contents(kit, 6)
