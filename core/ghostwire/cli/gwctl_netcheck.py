"""`gwctl netcheck`: what the network between this node and the relays is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.tables import as_json, joined, plain, print_fields, print_json, print_table

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

TIMEOUT = 30.0
"""Seconds: a look may have to wait for one that is under way."""


@click.command()
@as_json
@click.pass_obj
def netcheck(program: Program, json_: bool) -> None:
    """Measure this node's network: UDP, addresses, port mapping, the latency of each region, and which is home."""
    report = NodeApi(program.folders, timeout=TIMEOUT).get("/v1/netcheck")
    if json_:
        print_json(report)
        return
    print_fields(_fields(report))
    click.echo()
    regions = sorted(report.get("regions", ()), key=lambda each: (each["latency_ms"] is None, each["latency_ms"]))
    columns = ("region", "latency", "IPv4", "IPv6", "HTTPS")
    rows = ([_region(each, report), *(_ms(each[f"{kind}_ms"]) for kind in _KINDS)] for each in regions)
    print_table(columns, rows, empty="no relay is in the mesh")
    for each in regions:
        if each["trouble"]:
            click.echo(f"{plain(each['name'])} is not reached: {plain(each['trouble'])}")


_KINDS = ("latency", "ipv4", "ipv6", "https")
_MAPPINGS = {
    "none": "none: relays see this node's own address",
    "endpoint-independent": "endpoint-independent: one outside port for everybody",
    "destination-dependent": "destination-dependent: another outside port for each destination, bad for direct paths",
    "": "not known: two relays have to answer over UDP and IPv4",
}
_GUESS = {None: "", True: "destination-dependent", False: "endpoint-independent"}
_PROTOCOLS = {"nat_pmp": "NAT-PMP", "pcp": "PCP", "upnp": "UPnP"}


def _fields(report: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    names = {each["region"]: each["name"] for each in report.get("regions", ())}
    home = report.get("home")
    return [
        ("UDP", _yes(report["udp"])),
        ("UDP over IPv4", _family(report["ipv4"], report["mapped_ipv4"])),
        ("UDP over IPv6", _family(report["ipv6"], report["mapped_ipv6"])),
        ("NAT mapping", _MAPPINGS[report.get("mapping") or _GUESS[report["mapping_varies"]]]),
        ("port mapping", _port_mapping(report.get("port_mapping") or {}, report.get("port_mapped", ""))),
        (
            "captive portal",
            {None: "", True: "yes: log in with a web browser", False: "no"}[report.get("captive_portal")],
        ),
        ("home", f"{names.get(home) or home} ({report['reason']})" if home is not None else "none"),
    ]


def _port_mapping(protocols: Mapping[str, bool | None], mapped: str) -> str:
    """The protocols that the router speaks; nothing where it was not asked."""
    spoken = [_PROTOCOLS.get(name, name) for name, speaks in protocols.items() if speaks]
    asked = any(speaks is not None for speaks in protocols.values())
    given = f", gave {mapped}" if mapped else ""
    return f"{joined(spoken) or 'none'}{given}" if asked or mapped else ""


def _region(each: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    name = each["name"] or str(each["region"])
    return f"{name} (home)" if each["region"] == report.get("home") else name


def _family(works: bool | None, mapped: str) -> str:
    return f"{_yes(works)}, seen as {mapped}" if mapped else _yes(works)


def _yes(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
