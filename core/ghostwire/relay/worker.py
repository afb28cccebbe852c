"""One of several processes that serve a relay's port: it does what its parent says, and ends with it.

Run as ``python -m ghostwire.relay.worker DESCRIPTOR``, the descriptor being its end of the parent's socket pair.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from ghostwire.capabilities.relaying import Load
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError
from ghostwire.folders import Folders
from ghostwire.keys import load_private_key
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection
from ghostwire.relay.identity import RELAY_KEY
from ghostwire.relay.pipe import (
    MEASURE_INTERVAL,
    Announced,
    Carrying,
    Failed,
    Mesh,
    Pipe,
    Recertified,
    Setup,
    Up,
    from_descriptor,
    read_setup,
)
from ghostwire.relay.relaying import LiveRelaying
from ghostwire.relay.serving import Serving
from ghostwire.relay.tls import RelayTls
from ghostwire.system.clock import SystemClock
from ghostwire.system.loop import runner
from ghostwire.system.sockets import SystemSockets
from ghostwire.wire.messages import AdmittedKeys


class Worker:
    """A worker process, from its Setup on."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._config = setup, setup.config.relay
        self._folders = Folders(Path(setup.state) if setup.state is not None else None)
        self._tls: RelayTls | None = None
        self.relaying = LiveRelaying(
            load_private_key(self._folders.relay / RELAY_KEY),
            everyone=self._config.open,
            fellows=setup.fellows,
            first=setup.number == 0,
        )

    def told(self, message: Any) -> None:
        """Do what the parent says."""
        if isinstance(message, AdmittedKeys):
            self.relaying.admit(message)
        elif isinstance(message, Mesh):
            self.relaying.mesh_with(message.siblings)
        elif isinstance(message, Recertified) and self._tls is not None:
            self._tls.reload()

    async def serve(self, pipe: Pipe) -> None:
        """Serve until the parent is gone or SIGTERM comes, reporting over the pipe."""
        serving = self._serving()
        self.relaying.on_announced(lambda: pipe.send(Announced(stun_port=self.relaying.stun_port)))
        await serving.start()
        reporting = asyncio.ensure_future(self._report(pipe))
        try:
            pipe.send(Up(port=serving.port))
            await pipe.over.wait()
        finally:
            reporting.cancel()
            await serving.close()

    def _serving(self) -> Serving:
        clock = SystemClock()
        if self._config.tls:
            self._tls = RelayTls(self._config, self._folders.relay, lambda: clock.wall() // SECOND)
        return Serving(
            Host.compose("relay", Selection(self._setup.config, self._setup.named)),
            self._config,
            self._folders,
            self.relaying,
            self._tls,
            clock=clock,
            entropy=os.urandom,
            sockets=SystemSockets(),
            shared=True,
        )

    async def _report(self, pipe: Pipe) -> None:
        told = Load(0, 0)
        while True:
            await asyncio.sleep(MEASURE_INTERVAL)
            if (load := self.relaying.load()) != told:
                told = load
                pipe.send(Carrying(load=load))


async def run(end: socket.socket, setup: Setup) -> None:
    """Be a worker until the parent closes its end, or dies."""
    worker = Worker(setup)
    pipe = await Pipe.open(end, worker.told)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, pipe.close)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal sends it to the parent too, who will say so
    try:
        await worker.serve(pipe)
    except GhostwireError as error:
        pipe.send(Failed(kind=type(error).__name__, text=str(error)))
    finally:
        pipe.close()
        await pipe.over.wait()


def main() -> int:
    """The process: its exit code."""
    end = from_descriptor(int(sys.argv[1]))
    setup = read_setup(end)
    if setup is None:
        return 0
    _log(setup)
    try:
        with runner() as running:
            running.run(run(end, setup))
    except GhostwireError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _log(setup: Setup) -> None:
    """As the parent logs, with the worker's number."""
    where = f"%(asctime)s %(levelname)s %(name)s [worker {setup.number}]"
    logging.basicConfig(level=setup.level, format=f"{where}: %(message)s")
    for library in ("uvicorn", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
