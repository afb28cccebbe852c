"""Two nodes with a transfer between them, and what happens to it: how long it stood still, and over what it went on."""

from __future__ import annotations

import time
from collections.abc import Callable

from gaps import Flow, RelayedShare, Stream
from programs import Node, wait_for

Row = dict[str, str]
LOG_END = 1500
"""Bytes of a log that are shown where something went wrong."""


def path(here: Node, there: Node) -> str:
    """How a node sends to another: ``direct ENDPOINT``, ``relay NAME`` or ``none``."""
    found = here.peer(there.member)["path"]
    if found is None:
        return "none"
    return f"relay {found['relay']}" if found["relayed"] else f"direct {found['endpoint']}"


class Pair:
    """Two nodes and the transfer from the one to the other; ``relays`` are the members whose relays may carry it."""

    def __init__(self, here: Node, there: Node, *relays: str) -> None:
        self.here, self.there, self.relays = here, there, relays
        self.lab, self.broken = here.lab, 0
        wait_for(f"{there.member} can be reached", lambda: here.can_ping(there.address()))
        self.stream = Stream(here, there).__enter__()

    def paths(self) -> tuple[str, str]:
        """How each of the two sends to the other."""
        return path(self.here, self.there), path(self.there, self.here)

    def are(self, kind: str) -> bool:
        """Whether the paths of both are of this kind: what `path` gives, or its beginning."""
        self.stream.check()
        return all(each.startswith(kind) for each in self.paths())

    def at_home(self, relay: str) -> bool:
        """Whether both are at home at this relay, and connected to it."""
        homes = [node.home() for node in (self.here, self.there)]
        return all(home.get("connected", False) is True and home["relay"] == relay for home in homes)

    def direct(self, patience: float) -> None:
        """Wait until both send directly, and the transfer flows; a broken one is begun anew."""
        if self.stream.failed:
            self.broken += 1
            self.close()
            self.stream = Stream(self.here, self.there).__enter__()
        try:
            wait_for("both are direct before anything happens", lambda: self.are("direct"), patience)
            self.stream.goes_on()
        except AssertionError as failure:
            failure.add_note(self.explained())
            raise

    def explained(self) -> str:
        """What both nodes say of their choice and of their relays, and the ends of their logs."""
        both = (self.here, self.there), (self.there, self.here)
        said = [node.gwctl("debug", "paths", peer.member) for node, peer in both]
        told = [f"{node.member}: {node.home()}\n{node.text()[-LOG_END:]}" for node, _ in both]
        return "\n".join(said + told)

    def close(self) -> None:
        """End the transfer."""
        self.stream.close()

    def __str__(self) -> str:
        return " / ".join(dict.fromkeys(each.split(" 10.")[0] for each in self.paths()))


class Event:
    """Something that happens now to a pair and its transfer, or another ``flow`` between the two.

    ``record`` takes what came of it, for a table: the longest time that nothing arrived and the sum of all
    interruptions (`gaps.STALL`), the time until it was settled over what it goes on, the paths before and after.
    """

    def __init__(self, pair: Pair, record: Callable[[Row], None], what: str, flow: Flow | None = None) -> None:
        self._pair, self._record, self._what = pair, record, what
        self._flow = flow or pair.stream
        self._flow.goes_on()
        self._before, self._settled = str(pair), ""
        self._began = time.monotonic()

    def leads_to(self, kind: str, *, seen: str = "", within: float, gap: float) -> None:
        """Wait until both say that their path is such and the transfer is seen to take it, and the other node sees
        this one at an endpoint that contains ``seen``; it never stood still for longer than ``gap`` seconds."""
        share = RelayedShare(self._pair.lab, self._pair.stream, *self._pair.relays)

        def settled() -> bool:
            relayed = share.now()
            taken = relayed is not None and (relayed > 0.5) is kind.startswith("relay")
            return taken and self._pair.are(kind) and seen in self._pair.paths()[1]

        try:
            wait_for(f"{self._what}: {kind}", settled, within)
            self._settled = f"{time.monotonic() - self._began:.2f}"
            self._flow.goes_on()
            longest = self._flow.gap(self._began)
            assert longest < gap, f"{self._what}: it stood still for {longest:.2f} s; allowed are {gap} s"
        except AssertionError as failure:
            failure.add_note(self._pair.explained())
            raise
        finally:
            self._record(self._row())

    def _row(self) -> Row:
        return {
            "event": self._what,
            "gap ms": f"{1000 * self._flow.gap(self._began):.0f}",
            "all gaps ms": f"{1000 * self._flow.stalled(self._began):.0f}",
            "settled s": self._settled,
            "before": self._before,
            "after": str(self._pair),
        }
