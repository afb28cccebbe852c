"""What path choice says of itself: which candidates a peer has, what they are worth, and why one is used."""

from __future__ import annotations

import msgspec


class CandidateReport(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a peer. Ages are in seconds, None for never.

    ``learned`` says from whom: ``server``, ``call-me-maybe``, ``ping`` (the peer sent one from there), ``tunnel`` (its
    packets came from there), ``cache`` (known from before), ``map`` (relays). ``state`` is ``used``, ``answers``,
    ``silent``, ``untried``, ``barred`` (answers pings and carries no packets), ``connected`` or ``not connected``
    (relays). ``points`` as in `ghostwire.node.paths.points`; ``why`` tells in a line what the candidate lacks to be
    used, or what speaks for it. ``region`` and ``relay`` name a relayed one for people, as far as they are known.
    """

    transport: str
    endpoint: str
    relayed: bool
    learned: str
    state: str
    latency_ms: float | None = None
    points: int = 0
    pinged_s: float | None = None
    answered_s: float | None = None
    why: str = ""
    region: str = ""
    relay: str = ""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was decided, ``ago_s`` seconds ago."""

    ago_s: float
    what: str


class PathsReport(msgspec.Struct, frozen=True, kw_only=True):
    """A peer's path choice. ``state`` is ``asleep``, ``searching``, ``doubted`` or ``direct``; ``why`` explains it in
    a line. ``using`` are the paths that packets go over now, as ``TRANSPORT ENDPOINT``; ``history`` begins with the
    oldest decision that is remembered."""

    peer: int
    name: str
    state: str
    why: str
    using: tuple[str, ...] = ()
    latency_ms: float | None = None
    candidates: tuple[CandidateReport, ...] = ()
    history: tuple[Moment, ...] = ()
