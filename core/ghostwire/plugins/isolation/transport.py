"""A third party's transport as the daemon has it: everything that it does happens in a child process."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from ghostwire import Buffer, Path, Receive, Transport, TransportContext
from ghostwire.errors import PlatformError, RemoteProtocolError
from ghostwire.plugins.isolation.bounds import plain
from ghostwire.plugins.isolation.channel import Channel
from ghostwire.plugins.isolation.frames import BURST_OF, MAX_PATHS, NAME, Frame, knock_head
from ghostwire.plugins.isolation.life import Life
from ghostwire.plugins.isolation.names import Names, Table, send_burst
from ghostwire.plugins.isolation.protocol import Judged, Setup, is_endpoint
from ghostwire.plugins.isolation.pseudonyms import pseudonym, secret_beside
from ghostwire.plugins.isolation.setups import setup_of
from ghostwire.plugins.isolation.watch import Limits

COVERED: Final = ("capabilities:", "scopes:", "tcp:")
"""Measures beside which others stand: Landlock's rules for files, and the filter of system calls."""
_TOLD: set[tuple[str, str]] = set()


class IsolatedPath(Path):
    """A remote end, as the plugin's text names it; equal to every path of this transport with the same text."""

    __slots__ = ("_hash", "_owner", "endpoint", "transport")
    relayed = False

    def __init__(self, owner: IsolatedTransport, endpoint: str) -> None:
        self._owner, self.transport, self.endpoint = owner, owner.name, endpoint
        self._hash = hash((owner.name, endpoint))

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Pass the burst to the child; False where it has no room, is gone, or can make nothing of the text."""
        return self._owner.send(self, datagrams)

    def knock(self, datagram: Buffer, ttl: int) -> bool:
        """Pass it on, where the child has said that its path can; else False."""
        return self._owner.knock(self, datagram, ttl)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is IsolatedPath and (self.transport, self.endpoint) == (other.transport, other.endpoint)
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"IsolatedPath({self.transport}, {self.endpoint!r})"


class IsolatedTransport(Transport):
    """``plugin`` is the entry point's name; ``context.settings`` is its table as the operator wrote it."""

    isolated = True

    def __init__(self, plugin: str, name: str, context: TransportContext, limits: Limits = Limits()) -> None:  # noqa: B008
        self.name = name
        self._plugin, self._context, self._limits = plugin, context, limits
        self._life: Life | None = None
        self._receive: Receive | None = None
        self._channel: Channel | None = None
        self._scope = context.metrics.scope()
        self.dropped = 0
        """Bursts of which not all went to the child."""
        self._forget()

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that confine the child; empty before it runs."""
        return self._life.measures if self._life is not None else ()

    @property
    def lacking(self) -> tuple[str, ...]:
        """The measures that this system lacks, each with the reason."""
        return self._life.lacking if self._life is not None else ()

    @property
    def pid(self) -> int:
        """The child's process id; 0 where none runs."""
        life = self._life
        return life.process.pid if life is not None and self._channel is not None else 0

    async def start(self, receive: Receive) -> None:
        """Start the child, and the transport in it; raises the child's own error."""
        self._forget()
        self._receive = receive
        life = self._life = Life(self._plugin, self._context, self._limits, self._failed, self._judge)
        try:
            folder = os.open(self._context.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise PlatformError(f"{self._context.state}: {error.strerror}") from None
        try:
            started = await life.start(self._setup(folder), folder, self._take)
        finally:
            os.close(folder)
        if started.name != self.name:
            await life.close()
            raise PlatformError(f"the plugin {self._plugin} started another transport than {self.name}")
        self._channel = life.process.channel
        self._measure()
        self._context.log.info("%s runs isolated: %s", self.name, ", ".join(life.measures) or "unconfined")
        self._tell_of_lacking(life)

    def _tell_of_lacking(self, life: Life) -> None:
        """Once for each daemon: whoever starts again and again lacks the same."""
        text = "; ".join(life.lacking)[:400]
        if not text or (self.name, text) in _TOLD:
            return
        _TOLD.add((self.name, text))
        covered = {"files", "system calls"} <= set(life.measures) and all(
            each.startswith(COVERED) for each in life.lacking
        )
        level = logging.INFO if covered else logging.WARNING
        self._context.log.log(level, "%s: this system lacks measures: %s", self.name, text)

    def endpoints(self) -> Sequence[str]:
        """What the child said last."""
        return list(self._life.endpoints) if self._life is not None and self._channel is not None else []

    def path(self, endpoint: str) -> IsolatedPath:
        """The path to this text; ValueError where it can be none. Whether it makes sense is the child's to say: where
        it does not, sends answer False."""
        if not is_endpoint(endpoint):
            raise ValueError(f"not the text of an endpoint: {endpoint[:90]!r}")
        found = self._paths.get(endpoint)
        if found is None:
            found = self._paths[endpoint] = IsolatedPath(self, endpoint)
            if len(self._paths) > MAX_PATHS:
                self._paths.popitem(last=False)
            if self._channel is not None:
                self._number(found)
        return found

    async def close(self) -> None:
        """End the child."""
        self._channel = self._receive = None
        self._context.metrics.drop(self._scope)
        if self._life is not None:
            await self._life.close()

    def send(self, path: IsolatedPath, datagrams: Sequence[Buffer]) -> bool:
        """Send a burst over one of its paths."""
        life = self._life
        if life is None or self._channel is None or path.endpoint in self._refused:
            return False
        number = self._number(path)
        if number is None or not send_burst(self._send, number, datagrams):
            self.dropped += 1
            return False
        life.moved += 1
        return True

    def knock(self, path: IsolatedPath, datagram: Buffer, ttl: int) -> bool:
        """Knock over one of its paths."""
        number = self._number(path) if self._channel is not None else None
        if number is None or path.endpoint not in self._knocks or not 0 < ttl < 256:
            return False
        return self._send((knock_head(number, ttl), datagram))

    def _send(self, parts: Sequence[Buffer]) -> bool:
        """Send a frame; a child that lies of the room it made is ended."""
        try:
            return self._channel is not None and self._channel.send(parts)
        except RemoteProtocolError as error:
            assert self._life is not None
            asyncio.get_running_loop().call_soon(self._life.fail, str(error))  # not in the middle of a send
            return False

    def _measure(self) -> None:
        metrics = self._context.metrics
        metrics.drop(self._scope)
        self._scope = metrics.scope()
        name = f"ghostwire_isolation_{plain(self.name)}_dropped_total"
        self._scope.counter(name, "Bursts that the plugin's process had no room for.", lambda: self.dropped)

    def _forget(self) -> None:
        """What belongs to one child alone."""
        self._channel = None
        self._paths: OrderedDict[str, IsolatedPath] = OrderedDict()
        self._names: Names[IsolatedPath] = Names()
        self._told: Table[str] = Table()
        self._sources: Table[IsolatedPath] = Table()
        self._refused: set[str] = set()
        self._knocks: set[str] = set()

    def _setup(self, folder: int) -> Setup:
        context = self._context
        key = pseudonym(secret_beside(context.state, context.entropy), context.node_key, self._plugin)
        table: dict[str, Any] = dict(context.settings or {})
        return setup_of(
            self._plugin,
            table,
            provider=self.name,
            folder=folder,
            hidden=(str(context.state.absolute().parent),),
            node_key=str(key),
            addresses=tuple(context.local_addresses()),
            level=context.log.getEffectiveLevel(),
        )

    def _number(self, path: IsolatedPath) -> int | None:
        number = self._names.known(path)
        if number is None:
            number = self._names.number(path, lambda: path.endpoint, self._send)
            if number is not None:
                forgotten = self._told.put(number, path.endpoint)
                if forgotten is not None and forgotten != path.endpoint:
                    self._refused.discard(forgotten)
                    self._knocks.discard(forgotten)
        return number

    def _judge(self, judged: Judged) -> None:
        text = self._told.get(judged.path)
        if text is not None:
            (self._refused if judged.refused else self._knocks).add(text)

    def _failed(self, reason: str) -> None:
        self._channel = self._receive = None
        self._context.failed(reason)

    def _take(self, frame: Frame) -> None:
        """Do what a frame of the child's says."""
        if frame.kind == NAME:
            self._sources.put(frame.path, self._source(frame.text))
        elif frame.kind == BURST_OF and self._receive is not None and self._life is not None:
            source = self._sources.get(frame.path)
            if source is None:
                raise RemoteProtocolError("used a path that it never named")
            self._life.moved += 1
            self._receive(source, frame.datagrams)

    def _source(self, text: str) -> IsolatedPath:
        return self._paths.get(text) or IsolatedPath(self, text)
