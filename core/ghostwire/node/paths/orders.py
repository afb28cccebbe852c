"""What one peer's engine has done: paths attached, pings and calls sent, each as often as it makes sense."""

from __future__ import annotations

from ghostwire import Path
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.decisions import Ask, Attach, Call, Ping, Rest, Trial, Trust, Want
from ghostwire.node.paths.shared import Shared
from ghostwire.node.paths.timing import CALL_GAP, LATELY_CALLED, RECENT


class Orders:
    """Puts a peer's decisions into the list that all share. ``attached`` is None as long as nothing ever was."""

    __slots__ = ("_called", "_peer", "_shared", "attached", "call_at", "heard")

    def __init__(self, shared: Shared, peer: int) -> None:
        self._shared, self._peer = shared, peer
        self.attached: tuple[Path, ...] | None = None
        self._called: int | None = None
        self.call_at: int | None = None
        """When a call that had to wait is due."""
        self.heard = False
        """Whether the peer has heard the last call, and so lets this node's pings in."""

    def attach(self, paths: tuple[Path, ...], *, anew: bool = False) -> None:
        """Send over these paths; the same again are news only ``anew``."""
        if anew or paths != self.attached:
            self.attached = paths
            self._shared.decisions.append(Attach(self._peer, paths))

    def ping(self, candidate: Candidate, now: int, *, padded: bool = False) -> None:
        """Ask it now."""
        candidate.pinged = now
        transaction = self._shared.pings.add(self._peer, candidate, now, self._shared.entropy, padded=padded)
        self._shared.decisions.append(Ping(self._peer, candidate.path, transaction, padded))

    def knock(self, candidate: Candidate, now: int, ttl: int) -> None:
        """Open this side's routers for its answer to another ping; none is expected to this one."""
        transaction = self._shared.pings.add(self._peer, candidate, now, self._shared.entropy, padded=False)
        self._shared.decisions.append(Ping(self._peer, candidate.path, transaction, False, ttl))

    def ping_soon(self, candidate: Candidate, now: int) -> None:
        """Ask it, unless that was just done; one that answers is asked at once what it carries."""
        if candidate.pinged is None or now - candidate.pinged >= RECENT:
            self.ping(candidate, now, padded=candidate.answered is not None and not candidate.carries)

    def call(self, relay: Path | None, now: int) -> None:
        """Have this node pinged, now or as soon as the peer takes a call again."""
        if relay is None:
            return
        self.call_at = None if self._called is None else self._called + CALL_GAP
        if self.call_at is None or self.call_at <= now:
            self._called, self.call_at, self.heard = now, None, False
            transaction = self._shared.pings.add(self._peer, None, now, self._shared.entropy, padded=False)
            self._shared.decisions += [Call(self._peer, relay), Ask(self._peer, relay, transaction)]

    def called_lately(self, now: int) -> bool:
        """Whether the peer was told of late where this node is."""
        return self._called is not None and now - self._called < LATELY_CALLED

    def want(self) -> None:
        """Tell the server."""
        self._shared.decisions.append(Want(self._peer))

    def trial(self, path: Path) -> None:
        """Begin a handshake over this path alone."""
        self._shared.decisions.append(Trial(self._peer, path))

    def trust(self, path: Path) -> None:
        """This direct path works."""
        self._shared.decisions.append(Trust(self._peer, path))

    def rest(self) -> None:
        """Be told when data moves again."""
        self.call_at = None
        self._shared.decisions.append(Rest(self._peer))
