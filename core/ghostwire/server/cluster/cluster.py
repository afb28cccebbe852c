"""This server among the others of its mesh: posts what they are to know of it, and hands on what they post.

Nobody leads: each writes its own entries alone, and believes of the others' what is newest (see `entries`, and
`nodes.presence` for what is newest). A server that is gone takes its entries with it: whether its nodes are online is
unknown until they come to another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from ghostwire.capabilities.storage import Exchange, Notice
from ghostwire.server.cluster.entries import SERVER, Entry, ServerEntry, decode, encode, key, split
from ghostwire.server.maps import Maps

GONE = 3600
"""Seconds for which it is remembered who is gone, for people who look."""
MAX_GONE = 16

Entries = Callable[[str, int, Entry | None], None]
"""Takes a server's entry about this id, or that it has none any more."""


class Cluster:
    """``handlers`` take others' entries by their kind. Where one server alone can be, nothing is told."""

    def __init__(
        self, maps: Maps, handlers: Mapping[str, Entries], now: Callable[[], int], log: logging.Logger
    ) -> None:
        self._maps, self._handlers, self._now, self._log = maps, handlers, now, log
        self._exchange: Exchange | None = None
        self._posted: dict[str, bytes] = {}
        self._waiting: dict[str, bytes | None] = {}
        self._held: dict[str, set[str]] = {}
        self._flushing: asyncio.Handle | None = None
        self.others: dict[str, ServerEntry] = {}
        """The servers that run beside this one, by id."""
        self._lost: dict[str, tuple[ServerEntry, int]] = {}
        self.notices = self.losses = 0

    @property
    def shared(self) -> bool:
        """Whether there may be other servers."""
        return self._exchange is not None

    @property
    def lost(self) -> dict[str, tuple[ServerEntry, int]]:
        """The servers that were beside this one until lately, by id, and when they went (Unix seconds)."""
        return {id_: (entry, at) for id_, (entry, at) in self._lost.items() if self._now() - at < GONE}

    def join(self, exchange: Exchange | None) -> None:
        """Begin, where there is somewhere to meet."""
        self._exchange = exchange
        if exchange is not None:
            exchange.join(self._maps.server, self._heard)

    def close(self) -> None:
        """Tell nothing any more."""
        self._exchange = None
        if self._flushing is not None:
            self._flushing.cancel()

    def post(self, kind: str, id_: int, entry: Entry | None) -> None:
        """Let the others know this of that id, or that there is nothing to know any more."""
        if self._exchange is None:
            return
        name, body = key(kind, id_), None if entry is None else encode(entry)
        if self._posted.get(name) == body:
            return
        if body is None:
            del self._posted[name]
        else:
            self._posted[name] = body
        self._waiting[name] = body
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """All of one pass of the loop at once, under one counter."""
        self._flushing = None
        waiting, self._waiting = self._waiting, {}
        if self._exchange is not None:
            self._exchange.post(self._maps.count(), waiting)

    def _heard(self, notice: Notice) -> None:
        if self._exchange is None:
            return
        self.notices += 1
        if notice.gone:
            self._lose(notice.server)
        else:
            with self._maps.hearing(notice.server, notice.counter):
                self._take_all(notice)

    def _take_all(self, notice: Notice) -> None:
        held, news = self._held.setdefault(notice.server, set()), dict(notice.entries)
        if notice.whole:
            news = dict.fromkeys(held - news.keys()) | news
        for name, body in news.items():
            (held.discard if body is None else held.add)(name)
            self._take(notice.server, name, body)

    def _take(self, server: str, name: str, body: bytes | None) -> None:
        found = split(name)
        if found is None:
            return
        kind, id_ = found
        entry = None if body is None else decode(kind, body)
        if body is not None and entry is None:
            self._log.debug("server %s told %s in a form that this release does not read", server, name)
        elif isinstance(entry, ServerEntry):
            self._meet(server, entry)
        elif kind != SERVER:
            self._hand_on(server, kind, id_, entry)

    def _hand_on(self, server: str, kind: str, id_: int, entry: Entry | None) -> None:
        """What can't be taken must not keep us from the rest."""
        try:
            self._handlers[kind](server, id_, entry)
        except Exception:
            self._log.exception("what server %s told of %s cannot be taken: internal error", server, key(kind, id_))

    def _meet(self, server: str, entry: ServerEntry) -> None:
        held = self.others.get(server)
        if entry.name and not (held and held.name):
            self._log.info("server %s (%s) is in the mesh too", entry.name, server)
            known = {id_: each for id_, each in self.lost.items() if each[0].name != entry.name}
            self._lost = dict(list(known.items())[-MAX_GONE:])
        self.others[server] = entry

    def _lose(self, server: str) -> None:
        entry = self.others.pop(server, None)
        if entry is not None and entry.name:  # one without ended before it served anybody
            self._log.warning("server %s (%s) is gone", entry.name, server)
            self.losses += 1
            self._lost[server] = entry, self._now()
        for name in self._held.pop(server, ()):
            self._take(server, name, None)
        self._maps.gone(server)
