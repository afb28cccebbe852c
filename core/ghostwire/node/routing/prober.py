"""Looks at routers and asks them, by what tunnel and path choice have anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ghostwire import Path, Tunnel
from ghostwire.capabilities.tunnel import TunnelEvents
from ghostwire.engine import Clock
from ghostwire.node.director import Director
from ghostwire.node.paths.shared import State
from ghostwire.node.routing.health import Signs


class Prober(TunnelEvents):
    """The `TunnelEvents` of the node's tunnel, on their way to path choice; ``awake`` is told whose data moves again.

    `attach` comes before all else.
    """

    def __init__(self, director: Director, clock: Clock, awake: Callable[[int], object]) -> None:
        self._director, self._clock, self._awake = director, clock, awake
        self._tunnel: Tunnel | None = None
        self._heard: dict[int, int] = {}

    def attach(self, tunnel: Tunnel) -> None:
        """Ask over this tunnel."""
        self._tunnel = tunnel

    # What the tunnel tells

    def awake(self, peer: int) -> None:
        """Data moves again."""
        self._director.awake(peer)
        self._awake(peer)

    def wanted(self, peer: int) -> None:
        """An initiation is about to go to this peer."""
        self._director.wanted(peer)

    def authenticated(self, peer: int, source: Path) -> None:
        """An authenticated datagram came from a source that is not attached."""
        self._heard[peer] = self._clock.now()
        self._director.authenticated(peer, source)

    def established(self, peer: int, source: Path) -> None:
        """A handshake with this peer was completed."""
        self._heard[peer] = self._clock.now()
        self._director.established(peer, source)

    # What routers are asked

    def signs(self, peer: int) -> Signs:
        """What is to be seen of a peer now."""
        assert self._tunnel is not None
        activity, choice = self._tunnel.activity(peer), self._director.choice(peer)
        heard = max(activity.heard, activity.received, self._heard.get(peer, 0))
        if choice is None:
            return Signs(unanswered=activity.unanswered, heard=heard)
        ponged = max((each.answered or 0 for each in choice.candidates), default=0)
        return Signs(choice.state is State.ASLEEP, activity.unanswered, heard, ponged)

    def ask(self, peer: int, attempt: int) -> None:
        """Begin a handshake, over another of the peer's paths at each attempt: a relay first, where there is one."""
        assert self._tunnel is not None
        self._director.wanted(peer)
        choice = self._director.choice(peer)
        paths = choice.attached if choice is not None else None
        if paths:
            self._tunnel.test(peer, paths[-1 - attempt % len(paths)])

    def forget(self, peers: Iterable[int]) -> None:
        """These are peers no longer."""
        for peer in peers:
            self._heard.pop(peer, None)
