"""Paths that outlive the transport that made them: equal by the transport's name and the endpoint, or over a relay by
the peer in it, whatever region it names."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Final

from ghostwire import Buffer, Path
from ghostwire.node.transports.faults import FAULTS
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT

KNOWN: Final = 4_096
"""Paths remembered while nobody holds them."""


class SupervisedPath(Path):
    """Sends over the running transport's own path; drops while none runs."""

    __slots__ = ("__weakref__", "_hash", "_table", "endpoint", "inner", "relayed", "transport")

    def __init__(self, table: PathTable, endpoint: str) -> None:
        self._table, self.transport, self.relayed, self.endpoint = table, table.name, table.relayed, endpoint
        self._hash = hash((table.name, _end(self)))
        self.inner: Path | None = None

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Send now; False where any of it was dropped, no transport runs, or it raised."""
        inner = self.inner
        if inner is None and (inner := self._table.attach(self)) is None:
            return False
        try:
            return inner.send(datagrams) is True
        except FAULTS as error:
            self._table.raised("send", error)
            return False

    def knock(self, datagram: Buffer, ttl: int) -> bool:
        """Send one datagram that gets no further than this."""
        inner = self.inner or self._table.attach(self)
        if inner is None:
            return False
        try:
            return inner.knock(datagram, ttl) is True
        except FAULTS as error:
            self._table.raised("knock", error)
            return False

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Path) and self.transport == other.transport and _end(self) == _end(other)
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"SupervisedPath({self.transport} {self.endpoint})"


def _end(path: Path) -> str:
    """What names the remote end: a relay finds a peer wherever it is."""
    return path.endpoint.rpartition("/")[2] if path.relayed else path.endpoint


class PathTable:
    """The paths of one transport, one object for an endpoint; ``relayed`` says whether they lead over relays. ``make``
    is the running transport's ``path``, None while none runs; ``raised`` is told what its paths raise."""

    def __init__(self, name: str, raised: Callable[[str, BaseException], object]) -> None:
        self.name, self.raised, self.relayed = name, raised, False
        self.recent: dict[str, SupervisedPath] = {}
        """Those that lead over the transport that runs, by endpoint."""
        self._held: weakref.WeakValueDictionary[str, SupervisedPath] = weakref.WeakValueDictionary()
        self._make: Callable[[str], Path] | None = None

    def begin(self, make: Callable[[str], Path]) -> None:
        """A transport runs whose paths these are from now on; it judges anew what makes sense."""
        self._make = make
        self.recent.clear()

    def end(self) -> None:
        """None runs any more."""
        self._make = None
        self.recent.clear()
        for path in tuple(self._held.values()):
            path.inner = None

    def path(self, endpoint: str) -> SupervisedPath:
        """The path to an endpoint; ValueError where it makes no sense. While none runs, whatever may make sense."""
        known = self.recent.get(endpoint)
        if known is not None:
            return known
        inner = self._made(endpoint) if self._make is not None else None
        return self._of(inner.endpoint if inner is not None else _sensible(endpoint), inner)

    def heard(self, source: Path) -> SupervisedPath:
        """The path that leads back to a source; ValueError where it is none."""
        if not isinstance(source, Path):
            raise ValueError(f"a {type(source).__name__} is no path")
        return self._of(_sensible(source.endpoint), source)

    def attach(self, path: SupervisedPath) -> Path | None:
        """Have the path lead over the transport that runs; None where none does, or it knows no such endpoint."""
        if self._make is None:
            return None
        try:
            path.inner = self._made(path.endpoint)
        except ValueError:
            return None
        return path.inner

    def _made(self, endpoint: str) -> Path:
        assert self._make is not None
        try:
            made = self._make(endpoint)
            if not isinstance(made, Path):
                raise TypeError(f"it made a {type(made).__name__} instead of a path")
            _sensible(made.endpoint)
        except ValueError:
            raise
        except FAULTS as error:
            self.raised("path", error)
            raise ValueError(f"{self.name} cannot read the endpoint {endpoint[:40]!r}") from None
        return made

    def _of(self, endpoint: str, inner: Path | None) -> SupervisedPath:
        path = self._held.get(endpoint)
        if path is None:
            path = self._held[endpoint] = SupervisedPath(self, endpoint)
        if path.inner is None:
            path.inner = inner
        if path.inner is not None:
            self._note(path)
        return path

    def _note(self, path: SupervisedPath) -> None:
        if len(self.recent) >= KNOWN:
            del self.recent[next(iter(self.recent))]
        self.recent[path.endpoint] = path


def sensible(text: object) -> bool:
    """Whether a text may be an endpoint."""
    return isinstance(text, str) and 0 < len(text) <= MAX_ENDPOINT_TEXT and text.isprintable()


def _sensible(text: str) -> str:
    if not sensible(text):
        raise ValueError("no endpoint")
    return str(text)
