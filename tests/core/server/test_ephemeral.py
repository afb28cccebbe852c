"""Ephemeral nodes go a grace after they left, and not before."""

import asyncio

from ghostwire.config import ServerConfig
from ghostwire.errors import StateError
from ghostwire.testing import simulated

CONFIG = ServerConfig(ephemeral_grace=300)


@simulated
async def test_an_ephemeral_node_is_removed_a_grace_after_it_left(serve):
    async with serve(config=CONFIG) as rig:
        client = rig.client(1)
        await client.join("please ephemeral")
        await asyncio.sleep(1000)
        client.leave()
        await asyncio.sleep(299)
        assert list(rig.nodes) == ["host1"]
        await asyncio.sleep(2)
        assert rig.nodes == {}


@simulated
async def test_coming_back_in_time_starts_a_new_grace(serve):
    async with serve(config=CONFIG) as rig:
        client = rig.client(1)
        await client.join("please ephemeral")
        client.leave()
        await asyncio.sleep(200)
        await client.join(None)
        await asyncio.sleep(1000)
        assert list(rig.nodes) == ["host1"]


@simulated
async def test_a_grace_of_a_day_lasts_a_day(serve):
    async with serve(config=ServerConfig(ephemeral_grace=86400)) as rig:
        client = rig.client(1)
        await client.join("please ephemeral")
        client.leave()
        await asyncio.sleep(86000)
        assert list(rig.nodes) == ["host1"]
        await asyncio.sleep(500)
        assert rig.nodes == {}


@simulated
async def test_a_node_that_comes_back_while_its_removal_fails_stays(serve):
    async with serve(config=CONFIG) as rig:
        client = rig.client(1)
        await client.join("please ephemeral")
        client.leave()
        stored = rig.plane.mesh.write

        async def failing(work):
            await asyncio.sleep(10)
            raise StateError("disk full")

        rig.plane.mesh.write = failing
        await asyncio.sleep(305)
        await client.join(None)
        rig.plane.mesh.write = stored
        await asyncio.sleep(3600)
        assert list(rig.nodes) == ["host1"]


@simulated
async def test_a_restart_gives_every_ephemeral_node_its_full_grace(serve):
    async with serve(config=CONFIG) as rig:
        stays, goes = rig.client(1), rig.client(2)
        for client in (stays, goes):
            await client.join("please ephemeral")
            client.leave()
        await asyncio.sleep(250)
        await rig.restart()
        await asyncio.sleep(250)
        assert list(rig.nodes) == ["host1", "host2"]
        await stays.join(None)
        await asyncio.sleep(100)
        assert list(rig.nodes) == ["host1"]


@simulated
async def test_ordinary_nodes_stay(serve):
    async with serve(config=CONFIG) as rig:
        client = rig.client(1)
        await client.join()
        client.leave()
        await asyncio.sleep(10_000)
        assert list(rig.nodes) == ["host1"]
