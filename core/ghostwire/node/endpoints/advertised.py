"""What a node advertises, of all that it knows about where it can be reached.

    configured    what the operator says
    mapped        what the router forwards (NAT-PMP, PCP, UPnP)
    local         this machine's addresses
    seen          what relays see: one endpoint of each IP version, and those that several relays see
    guessed       the address that relays see with the local port, where the mapping varies by destination: somebody may
                  have set up a forwarding of a port that is always the same

The best is first. There are at most `MAX_ENDPOINTS`; where that is too few, local addresses give way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ghostwire.model import Endpoint
from ghostwire.wire.endpoint import format_endpoint, parse_endpoint
from ghostwire.wire.messages import MAX_ENDPOINTS

IPV4, IPV6 = 4, 6
MAX_SEEN = 6
"""Endpoints advertised because relays see them; the relays may disagree, or lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Texts ``host:port``. ``varies``: the mapping does, by destination; ``fixed``: the local port is always that."""

    configured: Sequence[str] = ()
    mapped: str = ""
    local: Sequence[str] = ()
    seen: Sequence[str] = ()
    varies: bool = False
    fixed: bool = False


def advertised(known: Known, allowed: Callable[[str], bool]) -> tuple[str, ...]:
    """What to advertise of that, as far as it is allowed."""
    first = _distinct((*known.configured, known.mapped), allowed)
    last = _distinct((*known.seen[: MAX_SEEN - 1], *_guessed(known)), allowed)[: max(0, MAX_ENDPOINTS - len(first))]
    others = {*first, *last}
    local = [text for text in _distinct(known.local, allowed) if text not in others]
    own = [*local[: max(0, MAX_ENDPOINTS - len(others))], *(text for text in known.local if text in last)]
    return tuple(dict.fromkeys((*first, *own, *last)))[:MAX_ENDPOINTS]


def shared(offers: Sequence[tuple[str, Sequence[str]]]) -> tuple[Endpoint, ...]:
    """All transports' endpoints, best transport first: each has an equal share, and the first what others leave."""
    share = MAX_ENDPOINTS // max(1, len(offers))
    rooms = [min(len(texts), share) for _, texts in offers]
    if rooms:
        rooms[0] = MAX_ENDPOINTS - sum(rooms[1:])
    return tuple(
        Endpoint(name, text) for (name, texts), room in zip(offers, rooms, strict=True) for text in texts[:room]
    )


def port_of(texts: Iterable[str], version: int) -> int:
    """The port of the first endpoint of that IP version; 0 where there is none."""
    for text in texts:
        try:
            host, port = parse_endpoint(text)
        except ValueError:
            continue
        if host.version == version:
            return port
    return 0


def host_of(text: str) -> str:
    """The address of an endpoint that is one."""
    return text.rpartition(":")[0].strip("[]")


def _guessed(known: Known) -> list[str]:
    port = port_of(known.local, IPV4) if known.varies and known.fixed else 0
    hosts = [host_of(text) for text in known.seen if not text.startswith("[")]
    return [format_endpoint(host, port) for host in hosts[:1]] if port else []


def _distinct(texts: Iterable[str], allowed: Callable[[str], bool]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text and allowed(text)]
