"""What a look found, gathered; and the report made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ghostwire.model import MapRelay
from ghostwire.node.netcheck.report import NetcheckReport, RegionReport, Translation, milliseconds
from ghostwire.node.netcheck.round import Mapped, Round
from ghostwire.wire.endpoint import format_endpoint


class Results:
    """``https`` holds round trips in nanoseconds, by region, ``troubles`` why there is none."""

    def __init__(self, regions: Mapping[int, Sequence[MapRelay]]) -> None:
        self._regions = regions
        self._stun: Mapping[tuple[int, int], int] = {}
        self._mapped: dict[int, list[Mapped]] = {4: [], 6: []}
        self._asked: frozenset[int] = frozenset()
        self.https: dict[int, int] = {}
        self.troubles: dict[int, str] = {}

    def take(self, round_: Round) -> None:
        """What was found over STUN."""
        self._stun, self._asked = dict(round_.latencies), round_.families
        for asked, mapped in round_.mapped.items():
            self._mapped[6 if asked.startswith("[") else 4].append(mapped)

    @property
    def latencies(self) -> dict[int, int]:
        """Each region's best round trip in nanoseconds."""
        found = dict(self.https)
        for (region, _), latency in self._stun.items():
            found[region] = min(latency, found.get(region, latency))
        return found

    def report(
        self, *, at: int, before: NetcheckReport | None, local: Collection[str], home: int | None, reason: str
    ) -> NetcheckReport:
        """The report; of an incremental look what it could not find is taken from the one ``before``. ``local`` are
        this machine's addresses."""
        first = {family: format_endpoint(*each[0]) if each else "" for family, each in self._mapped.items()}
        varies = len(set(self._mapped[4])) > 1 if len(self._mapped[4]) > 1 else None
        varies = before.mapping_varies if varies is None and before is not None else varies
        mapped = first[4] or (before.mapped_ipv4 if before is not None else "")
        return NetcheckReport(
            at=at,
            full=before is None,
            udp=self._works(4, 6),
            ipv4=self._works(4),
            ipv6=self._works(6),
            mapped_ipv4=mapped,
            mapped_ipv6=first[6] or (before.mapped_ipv6 if before is not None else ""),
            mapping_varies=varies,
            mapping=_kind(mapped, varies, local),
            regions=tuple(self._region(region) for region in self._regions),
            home=home,
            reason=reason,
        )

    def _works(self, *families: int) -> bool | None:
        """Whether UDP does; None where nobody was asked so, or nobody answers in any way: relays may be away."""
        if any(family in families for _, family in self._stun):
            return True
        return False if self._asked.intersection(families) and self.latencies else None

    def _region(self, region: int) -> RegionReport:
        return RegionReport(
            region=region,
            name=self._regions[region][0].region_name,
            latency_ms=milliseconds(self.latencies.get(region)),
            ipv4_ms=milliseconds(self._stun.get((region, 4))),
            ipv6_ms=milliseconds(self._stun.get((region, 6))),
            https_ms=milliseconds(self.https.get(region)),
            trouble="" if region in self.https else self.troubles.get(region, ""),
        )


def _kind(mapped: str, varies: bool | None, local: Collection[str]) -> Translation:
    """What is done to IPv4 addresses on the way, as far as the endpoint that relays see tells."""
    if mapped.rpartition(":")[0] in local:
        return "none"
    if varies is None:
        return ""
    return "destination-dependent" if varies else "endpoint-independent"
