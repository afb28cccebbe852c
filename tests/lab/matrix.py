"""Two sites of every kind in one mesh, and a cold start between every two kinds, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from coldstart import End, Found, cold_start, ends
from natlab import Lab
from physics import BEHAVIOURS, can_be_direct
from programs import Mesh, wait_for

PORT = 443
"""Of server and relay: what a site without UDP can reach."""
SHORT = {
    "none": "pub",
    "one_to_one": "one",
    "full_cone": "full",
    "address_restricted": "addr",
    "port_restricted": "port",
    "port_restricted_hairpin": "phr",
    "symmetric": "sym",
    "double_nat": "cgn",
    "open_input": "opn",
    "udp_blocked": "noudp",
    "ipv6_only": "six",
}
KINDS = list(SHORT)
SHARED = {"port_restricted": 2, "symmetric": 2, "udp_blocked": 2, "ipv6_only": 2}
"""How many nodes are on one LAN, where there are more than one."""
LATE = 10.0
"""Seconds within which a pair that can be direct is."""
WATCHED = 2.0
"""Seconds for which one that cannot is watched."""
Cells = dict[tuple[str, str], Found]


def build(lab: Lab, folder: Path) -> Mesh:
    """Server with its relay, one more relay in a region of its own, and the nodes of `members`; all know all."""
    lab.host("control", "10.50.0.1", v6="fd50::1")
    lab.host("relay", "10.50.0.31", v6="fd50::31")
    for kind, short in SHORT.items():
        lab.site(f"{short}-a", kind, SHARED.get(kind, 1))
        lab.site(f"{short}-b", kind)
    mesh = Mesh(lab, folder, *members(), port=PORT, named=True)
    mesh.start_server()
    mesh.relay("relay", "second", PORT)
    mesh.enrol_many(*members())
    for name in members():
        wait_for(f"{name} is at home", lambda: mesh[name].home().get("connected"))  # noqa: B023
    return mesh


def members() -> list[str]:
    """Every node: SHORT-a1 (-a2 on its LAN) and SHORT-b1."""
    return [
        name
        for kind, short in SHORT.items()
        for name in (*(f"{short}-a{number + 1}" for number in range(SHARED.get(kind, 1))), f"{short}-b1")
    ]


def rounds() -> Iterable[list[tuple[str, str]]]:
    """All ordered pairs of kinds; in one round every kind is first once and second once."""
    for turn in range(len(KINDS)):
        yield [(kind, KINDS[(place + turn) % len(KINDS)]) for place, kind in enumerate(KINDS)]


async def measure(mesh: Mesh) -> Cells:
    """A cold start for each cell, from the first kind's site a to the second's site b."""
    cells: Cells = {}
    with ends(mesh.lab, list(mesh.nodes.values())) as all_ends:
        for pairs in rounds():
            found = await asyncio.gather(*(_cell(all_ends, *pair) for pair in pairs))
            cells |= zip(pairs, found, strict=True)
    return cells


async def measure_lans(mesh: Mesh) -> dict[str, Found]:
    """A cold start between the two nodes of each LAN."""
    with ends(mesh.lab, list(mesh.nodes.values())) as all_ends:
        pairs = [(all_ends[f"{SHORT[kind]}-a1"], all_ends[f"{SHORT[kind]}-a2"]) for kind in SHARED]
        found = await asyncio.gather(*(cold_start(*pair, patience=LATE) for pair in pairs))
    return dict(zip(SHARED, found, strict=True))


async def _cell(all_ends: dict[str, End], one: str, other: str) -> Found:
    first, second = all_ends[f"{SHORT[one]}-a1"], all_ends[f"{SHORT[other]}-b1"]
    return await cold_start(first, second, patience=LATE if possible(one, other) else WATCHED)


def possible(one: str, other: str) -> bool:
    """Whether physics lets these two kinds be direct."""
    return can_be_direct(BEHAVIOURS[one], BEHAVIOURS[other])


def table(cells: Cells) -> str:
    """What was found: a table for each figure, rows being who began."""
    figures = (
        ("first packet answered, ms", lambda found: _ms(found.answered)),
        ("direct both ways, ms", lambda found: _ms(found.direct)),
        (
            "path in the end",
            lambda found: {"direct4": "IPv4", "direct6": "IPv6", "relayed": "relay"}.get(found.way, "-"),
        ),
    )
    lines = []
    for title, figure in figures:
        lines.append(f"\n{title:26}" + "".join(f"{SHORT[kind]:>7}" for kind in KINDS))
        for one in KINDS:
            lines.append(f"{one:26}" + "".join(f"{figure(cells[one, other]):>7}" for other in KINDS))
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"
