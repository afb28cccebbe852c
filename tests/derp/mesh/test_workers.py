"""Several worker processes of one relay on one port: real processes on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ghostwire import Siblings
from ghostwire.config import Config, RelayConfig
from ghostwire.errors import PlatformError
from ghostwire.folders import Folders
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire.relay.identity import Identity
from ghostwire.relay.relaying import LiveRelaying
from ghostwire.relay.supervisor import Supervisor
from ghostwire.system.clock import SystemClock
from ghostwire.wire.messages import AdmittedKeys

from .conftest import MESH_KEY, Client, Region, until

pytestmark = pytest.mark.timeout(60)

KEYS = [PrivateKey.generate() for _ in range(16)]
"""Enough that the system, which deals connections out by chance, gives some to each of two workers."""


class Workers:
    """A relay of two processes that serves `KEYS`."""

    def __init__(self, folder: Path, listen: str = "127.0.0.1:0") -> None:
        folders = Folders(folder)
        self.relaying = LiveRelaying(Identity(folders.relay, os.urandom).relay_key)
        self.relaying.admit(AdmittedKeys(full=True, keys=tuple(key.public(NodeKey) for key in KEYS)))
        relay = RelayConfig(listen=listen, tls=False, workers=2)
        config = Config(relay=relay, plugin={"derp": {"stun": "127.0.0.1:0"}})
        self.supervisor = Supervisor(config, (), folders, self.relaying, clock=SystemClock(), entropy=os.urandom)
        self.clients: list[Client] = []

    @property
    def pids(self) -> list[int]:
        return [slot.pid for slot in self.supervisor.slots]

    async def populate(self) -> list[Client]:
        """A client for each key, some at each worker."""
        await self.leave()
        self.clients = [await Client.connect(self.supervisor.port, key=key) for key in KEYS]
        await until(lambda: self.relaying.load().clients == len(KEYS))
        assert all(slot.load.clients for slot in self.supervisor.slots)
        return self.clients

    async def leave(self) -> None:
        for client in self.clients:
            await client.close()

    @property
    def record(self) -> MapRelay:
        key = self.relaying.private_key.public(RelayKey)
        port = self.supervisor.port
        return MapRelay(id=9, name="r9", region=1, region_name="", host="127.0.0.1", port=port, tls=False, key=key)


@pytest_asyncio.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    made = Workers(tmp_path / "workers")
    await made.supervisor.start()
    yield made
    await made.leave()
    await made.supervisor.close()


def alive(pid: int) -> bool:
    """Whether this process runs; one that only waits to be noticed does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_clients_of_all_workers_reach_each_other(workers: Workers) -> None:
    first, *others = await workers.populate()
    for other in others:
        await first.reach(other)
        await other.reach(first)
    assert workers.relaying.stun_port != 0
    await until(lambda: workers.relaying.load().bytes > 0)


async def test_a_removed_client_is_closed_at_whichever_worker_it_is(workers: Workers) -> None:
    clients = await workers.populate()
    workers.relaying.admit(AdmittedKeys(removed=(NodeKey(clients[0].key), NodeKey(clients[5].key))))
    await clients[0].ended()
    await clients[5].ended()
    await clients[1].reach(clients[2])


async def test_another_relay_reaches_clients_of_all_workers_and_they_it(workers: Workers, region: Region) -> None:
    other = await region.relay()
    other.relaying.mesh_with(Siblings((workers.record,), MESH_KEY))
    workers.relaying.mesh_with(Siblings((region.record(other),), MESH_KEY))
    alice = await region.client(other)
    for client in await workers.populate():
        await alice.reach(client)
        await client.reach(alice)


async def test_a_worker_that_dies_is_replaced(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    before = workers.pids
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: "worker 0 serves again" in caplog.text)
    assert f"worker 0 (pid {before[0]}) died: SIGKILL; starting another" in caplog.text
    assert workers.pids[0] != before[0]
    assert workers.pids[1] == before[1]
    first, *others = await workers.populate()
    for other in others:
        await first.reach(other)


async def test_closing_ends_all_and_leaves_nothing(workers: Workers, tmp_path: Path) -> None:
    pids = workers.pids
    await workers.supervisor.close()
    assert [pid for pid in pids if alive(pid)] == []
    assert list((tmp_path / "workers" / "run" / "relay").iterdir()) == []


async def test_what_keeps_a_worker_from_serving_is_said_as_its_own_error(tmp_path: Path) -> None:
    in_the_way = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = in_the_way.sockets[0].getsockname()[1]
    workers = Workers(tmp_path, f"127.0.0.1:{port}")
    with pytest.raises(PlatformError, match=f"port {port} on 127.0.0.1 is in use; stop the program that has it"):
        await workers.supervisor.start()
    assert workers.pids == [0, 0]
    in_the_way.close()


async def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "gw.toml").write_text('[plugin.derp]\nstun = ""\n')
    words = ["--config", str(tmp_path / "gw.toml"), "--state", str(tmp_path / "s"), "relay", "--open", "--no-tls"]
    parent = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("ghostwire")),
        *words,
        *("--listen", "127.0.0.1:0", "--workers", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert (await parent.stdout.readline()).startswith(b"ghostwire relay ready at http://127.0.0.1:")
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert len(children) == 2
    parent.kill()
    await parent.wait()
    await until(lambda: not any(alive(int(child)) for child in children))
