"""Keeps one interface's routes and firewall right while networks change and other programs take them away."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress

from ghostwire.errors import GhostwireError
from ghostwire_net_linux import netlink
from ghostwire_net_linux.links import LinkWatch

PAUSE = 1.0
"""The fewest seconds between two repairs, should another program be as stubborn as we are."""


class TableWatch:
    """Calls ``lost`` when an nftables table of a name that ``ours`` knows is gone, for ``settle`` s."""

    def __init__(self, lost: Callable[[], None], ours: Callable[[str], bool], settle: float) -> None:
        self._lost, self._ours, self._settle = lost, ours, settle
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._monitor: socket.socket | None = None
        with suppress(OSError):  # a kernel without netfilter has no tables to lose
            self._monitor = netlink.open_table_monitor()
            self._loop.add_reader(self._monitor.fileno(), self._read, self._monitor)

    def stop(self) -> None:
        """Never call ``lost`` again; harmless when called twice."""
        self._still()
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    def _read(self, monitor: socket.socket) -> None:
        changed = netlink.changed_tables(monitor)
        ours = [there for name, there in (changed or {}).items() if self._ours(name)]
        if changed is None or not all(ours):
            self._still()
            self._timer = self._loop.call_later(self._settle, self._lost)
        elif ours:
            self._still()

    def _still(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Keeper:
    """Calls ``repair`` when a rule or one of ``ours`` among tables was lost, or when ``connected`` gives other networks
    than before."""

    def __init__(
        self,
        repair: Callable[[], Awaitable[None]],
        connected: Callable[[], tuple[str, ...]],
        ours: Callable[[str], bool],
        ignored: Callable[[], Container[int]],
        settle: float,
        log: logging.Logger,
    ) -> None:
        self._repair, self._connected, self._log = repair, connected, log
        self._before = connected()
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._watch = LinkWatch(self._changed, ignored, settle, rules=True)
        self._tables = TableWatch(self._hurry, ours, settle)

    def stop(self) -> None:
        """Repair no more; harmless when called twice."""
        self._watch.stop()
        self._tables.stop()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _changed(self) -> None:
        now, lost = self._connected(), self._watch.rule_lost
        if now == self._before and not lost:
            return
        self._before, self._watch.rule_lost = now, False
        self._hurry()

    def _hurry(self) -> None:
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._repair()
            except (GhostwireError, OSError) as error:
                self._log.warning("routes cannot be repaired: %s", error)
            await asyncio.sleep(PAUSE)
