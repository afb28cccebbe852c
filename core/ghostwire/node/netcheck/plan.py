"""Which relays a round asks over STUN, and when.

full          every region, 3 tries 100 ms apart, each at another relay of the region
incremental   the 3 fastest regions and the home: the home 4 tries, the two fastest 2, the third 1; a try waits
              for 1.2 of the region's last round trip, or 200 ms where that is not known
glance        the home and the two fastest others, 2 tries 200 ms apart: enough to learn this node's own addresses
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.model import MapRelay
from ghostwire.wire.endpoint import format_endpoint

FAMILIES = (4, 6)
FIRST_TRIES, FIRST_GAP = 3, 100 * MILLISECOND
FASTEST = 3
HOME_TRIES = 4
TRIES = (2, 2, 1)
"""How often the fastest regions are asked again."""
GAP = 200 * MILLISECOND
GLANCE, GLANCE_TRIES = 3, 2
"""Regions that a glance asks, and how often each."""

Addresses = Mapping[int, Mapping[int, str]]
"""Relay id -> IP version -> address."""
Regions = Mapping[int, Sequence[MapRelay]]
"""Region -> its relays."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One request to ``endpoint``, ``after`` nanoseconds from the round's start; ``second`` where the region's first
    answer is not enough."""

    region: int
    family: int
    endpoint: str
    after: int
    second: bool = False


def full(regions: Regions, addresses: Addresses) -> list[Probe]:
    """Ask every region."""
    probes = [probe for each in regions for probe in _region(each, regions, addresses, FIRST_TRIES, FIRST_GAP)]
    return [*probes, *_compared(probes)]


def glance(regions: Regions, addresses: Addresses, latencies: Mapping[int, int], home: int | None) -> list[Probe]:
    """Ask a few."""
    fastest_first = sorted(regions, key=lambda region: (region != home, latencies.get(region, SECOND), region))
    near = fastest_first[:GLANCE]
    probes = [probe for each in near for probe in _region(each, regions, addresses, GLANCE_TRIES, GAP)]
    return [*probes, *_compared(probes)]


def _compared(probes: Sequence[Probe]) -> Iterator[Probe]:
    """Where only one region is asked over IPv4, a second of its relays is: what two see of this node is compared."""
    over_ipv4 = [probe for probe in probes if probe.family == FAMILIES[0]]
    others = {probe.endpoint for probe in over_ipv4} - {probe.endpoint for probe in over_ipv4[:1]}
    if len({probe.region for probe in over_ipv4}) == 1 and others:
        probe = Probe(over_ipv4[0].region, FAMILIES[0], min(others), 0, second=True)
        yield from (replace(probe, after=number * FIRST_GAP) for number in range(FIRST_TRIES))


def fastest(regions: Regions, latencies: Mapping[int, int], home: int | None) -> dict[int, int]:
    """Region -> tries: those with the best last round trips (in nanoseconds), and the home."""
    ordered = sorted((each for each in latencies if each in regions), key=lambda region: latencies[region])
    tries = dict(zip(ordered[:FASTEST], TRIES, strict=False))
    if home is not None and home in regions:
        tries[home] = HOME_TRIES
    return tries


def incremental(regions: Regions, addresses: Addresses, latencies: Mapping[int, int], home: int | None) -> list[Probe]:
    """Ask the fastest."""
    found: list[Probe] = []
    for region, tries in fastest(regions, latencies, home).items():
        gap = latencies[region] * 6 // 5 if region in latencies else GAP
        found += _region(region, regions, addresses, tries, gap)
    return found


def _region(region: int, regions: Regions, addresses: Addresses, tries: int, gap: int) -> Iterator[Probe]:
    for family in FAMILIES:
        places = [
            format_endpoint(addresses[relay.id][family], relay.stun_port)
            for relay in regions[region]
            if relay.stun_port and family in addresses.get(relay.id, {})
        ]
        for number in range(tries if places else 0):
            yield Probe(region, family, places[number % len(places)], number * gap)
