"""Which kinds of site can reach each other directly, computed from what their routers do (RFC 4787's terms)."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Behaviour:
    """``mapping`` and ``filtering`` as `natprobe` measures them; ``versions`` are the IP versions that UDP passes in.

    ``usurped``: a packet that nobody asked for takes the outside port for its sender, who can't be spoken to from
    there afterwards; so whoever is behind such a router has to speak first.
    """

    mapping: str
    filtering: str
    versions: frozenset[int] = frozenset({4})
    usurped: bool = False

    @property
    def foreseen(self) -> bool:
        """Whether its outside address for a new destination is known beforehand."""
        return self.mapping in ("none", "EIM")


BEHAVIOURS = {
    "none": Behaviour("none", "EIF", frozenset({4, 6})),
    "one_to_one": Behaviour("EIM", "EIF"),
    "full_cone": Behaviour("EIM", "EIF"),
    "address_restricted": Behaviour("EIM", "ADF"),
    "port_restricted": Behaviour("EIM", "APDF"),
    "port_restricted_hairpin": Behaviour("EIM", "APDF"),
    "symmetric": Behaviour("APDM", "APDF"),
    "double_nat": Behaviour("EIM", "APDF"),
    "open_input": Behaviour("EIM", "APDF", usurped=True),
    "udp_blocked": Behaviour("no UDP", "APDF", frozenset()),
    "ipv6_only": Behaviour("none", "APDF", frozenset({6})),
}


def can_punch(first: Behaviour, second: Behaviour) -> bool:
    """Whether two sites get through to each other where each sends to the other's known address, ``first`` first."""
    if not first.versions & second.versions:
        return False
    first_arrives = _lets_in(second, first, spoke=False)
    if second.usurped and not first_arrives:
        second = Behaviour("APDM", second.filtering, second.versions)
    return first_arrives or _lets_in(first, second, spoke=True) or _lets_in(second, first, spoke=True)


def can_be_direct(one: Behaviour, other: Behaviour) -> bool:
    """Whether they can where both open their own routers before either's packets reach the other's."""
    first, second = (replace(each, usurped=False) for each in (one, other))
    return can_punch(first, second) or can_punch(second, first)


def _lets_in(inside: Behaviour, outside: Behaviour, *, spoke: bool) -> bool:
    """Whether a packet to the address that is known of ``inside`` arrives; ``spoke``: it has sent there before."""
    if not inside.foreseen:
        return False
    if inside.filtering == "EIF":
        return True
    return spoke and (inside.filtering == "ADF" or outside.foreseen)
