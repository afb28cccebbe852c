"""Carries bursts in the child: from the daemon to the plugin's paths, and from the plugin to the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from ghostwire import BURST, Buffer, Path, Transport
from ghostwire.plugins.isolation.channel import Channel
from ghostwire.plugins.isolation.frames import BURST_OF, KNOCK, NAME, Frame
from ghostwire.plugins.isolation.line import Line
from ghostwire.plugins.isolation.names import Names, Table, send_burst
from ghostwire.plugins.isolation.protocol import Judged

LITTLE: Final = 8
"""Datagrams of a delivery that is worth the wait for more."""
FAULTS = (Exception, SystemExit)


class Carrier:
    """Of one transport; ``raised`` is told where the plugin's code raises."""

    def __init__(
        self, channel: Channel, line: Line, transport: Transport, raised: Callable[[str, BaseException], object]
    ) -> None:
        self._channel, self._line, self._transport, self._raised = channel, line, transport, raised
        self._given: Table[Path] = Table()
        self._texts: dict[Path, str] = {}
        self._names: Names[Path] = Names()
        self._held: list[bytes] = []
        self._held_of: Path | None = None
        self.dropped = 0
        """Bursts of the plugin's of which not all went to the daemon."""

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Deliver a burst to the daemon, or drop it. What comes in little pieces is held until the event loop's pass is
        over, so that it crosses as one burst."""
        if self._held and (len(self._held) + len(datagrams) > BURST or source != self._held_of):
            self._release()
        if len(datagrams) > LITTLE:
            self._release()
            self._deliver(source, datagrams)
            return
        if not self._held:
            self._held_of = source
            asyncio.get_running_loop().call_soon(self._release)
        self._held += map(bytes, datagrams)

    def _release(self) -> None:
        """Deliver what is held."""
        held, source, self._held = self._held, self._held_of, []
        if held and source is not None:
            try:
                self._deliver(source, held)
            except FAULTS as error:
                self._raised("a delivery", error)

    def _deliver(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        send = self._channel.send
        number = self._names.known(source)
        if number is None:
            number = self._names.number(source, lambda: self._texts.get(source) or source.endpoint, send)
        for start in range(0, len(datagrams), BURST):
            if number is None or not send_burst(send, number, datagrams[start : start + BURST]):
                self.dropped += 1

    def take(self, frame: Frame) -> None:
        """Do what a frame of the daemon's says."""
        if frame.kind == NAME:
            self._name(frame.path, frame.text)
        elif (path := self._given.get(frame.path)) is None:
            return
        elif frame.kind == BURST_OF:
            self._call(path.send, frame.datagrams)
        elif frame.kind == KNOCK:
            self._call(path.knock, frame.datagrams[0], frame.ttl)

    def _call(self, what: Callable[..., object], *arguments: Any) -> None:
        try:
            what(*arguments)
        except FAULTS as error:
            self._raised(what.__name__, error)

    def _name(self, number: int, text: str) -> None:
        """Learn what a number stands for; the daemon hears of a text that makes no sense."""
        try:
            path = self._transport.path(text)
            knocks = type(path).knock is not Path.knock
            self._texts[path] = text
        except ValueError:
            self._line.tell(Judged(path=number, refused=True), urgent=False)
            return
        except FAULTS as error:
            self._raised("path", error)
            self._line.tell(Judged(path=number, refused=True), urgent=False)
            return
        forgotten = self._given.put(number, path)
        if forgotten is not None and forgotten != path:
            self._texts.pop(forgotten, None)
        if knocks:
            self._line.tell(Judged(path=number, knocks=True), urgent=False)
