"""`gwctl netcheck`: what the daemon measured, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from click.testing import Result

from ghostwire.cli.gwctl_netcheck import netcheck
from ghostwire.node.netcheck.report import NetcheckReport, RegionReport
from ghostwire.node.portmap.report import PortMapProtocols

Run = Callable[..., Result]
Serve = Callable[[str], Any]
FRA = RegionReport(region=1, name="fra", latency_ms=12.34, ipv4_ms=12.34, ipv6_ms=15.0)
NYC = RegionReport(region=2, name="nyc", latency_ms=None, trouble="r2: nobody listens there")
SIN = RegionReport(region=3, name="sin", latency_ms=4.0, https_ms=4.0)
REPORT = NetcheckReport(
    at=1,
    full=True,
    udp=True,
    ipv4=True,
    ipv6=False,
    mapped_ipv4="203.0.113.7:41641",
    mapping_varies=False,
    regions=(NYC, FRA, SIN),
    home=1,
    reason="the fastest",
)


def answering(serve: Serve, report: NetcheckReport) -> Any:
    fake = serve("node")
    fake.answers["GET", "/v1/netcheck"] = (200, msgspec.to_builtins(report))
    return fake


def lines(result: Result) -> list[str]:
    """What was printed, with single spaces."""
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_it_shows_latencies_fastest_first_what_is_known_of_the_network_and_the_home_and_why(
    serve: Serve, run: Run
) -> None:
    answering(serve, REPORT)
    result = run(netcheck)
    assert result.exit_code == 0
    for line in (
        "UDP yes",
        "UDP over IPv4 yes, seen as 203.0.113.7:41641",
        "UDP over IPv6 no",
        "NAT mapping endpoint-independent: one outside port for everybody",
        "home fra (the fastest)",
    ):
        assert line in lines(result)
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["fra"], ["nyc"], ["sin"])]
    assert rows == [
        ["sin", "4.0", "ms", "-", "-", "4.0", "ms"],
        ["fra", "(home)", "12.3", "ms", "12.3", "ms", "15.0", "ms", "-"],
        ["nyc", "-", "-", "-", "-"],
        ["nyc", "is", "not", "reached:", "r2:", "nobody", "listens", "there"],
    ]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"mapping": "none"}, "NAT mapping none: "),
        ({"mapping": "destination-dependent"}, "NAT mapping destination-dependent: "),
        ({"mapping": "", "mapping_varies": True}, "NAT mapping destination-dependent: "),
        ({"udp": None, "ipv4": None}, "UDP not known"),
    ],
)
def test_it_names_the_kind_of_translation_and_what_is_not_known(
    serve: Serve, run: Run, told: dict[str, Any], shown: str
) -> None:
    answering(serve, REPORT).answers["GET", "/v1/netcheck"] = (200, msgspec.to_builtins(REPORT) | told)
    assert any(line.startswith(shown) for line in lines(run(netcheck)))


def test_it_shows_which_port_mapping_protocols_the_router_speaks_and_what_it_gave(serve: Serve, run: Run) -> None:
    spoken = PortMapProtocols(nat_pmp=True, pcp=True, upnp=False)
    fake = answering(serve, msgspec.structs.replace(REPORT, port_mapping=spoken, port_mapped="203.0.113.7:1024"))
    assert "port mapping NAT-PMP, PCP, gave 203.0.113.7:1024" in lines(run(netcheck))
    silent = msgspec.structs.replace(REPORT, port_mapping=PortMapProtocols(nat_pmp=False, pcp=False, upnp=False))
    fake.answers["GET", "/v1/netcheck"] = (200, msgspec.to_builtins(silent))
    assert "port mapping none" in lines(run(netcheck))


@pytest.mark.parametrize(("found", "shown"), [(True, "yes: log in with a web browser"), (False, "no")])
def test_a_captive_portal_is_told_of(serve: Serve, run: Run, found: bool, shown: str) -> None:
    answering(serve, msgspec.structs.replace(REPORT, captive_portal=found))
    assert f"captive portal {shown}" in lines(run(netcheck))


def test_what_was_not_tried_or_an_older_daemon_does_not_say_is_left_out(serve: Serve, run: Run) -> None:
    fake = answering(serve, REPORT)
    older = msgspec.to_builtins(REPORT)
    for name in ("port_mapping", "port_mapped", "captive_portal"):
        assert name.replace("_", " ") not in run(netcheck).stdout
        del older[name]
    fake.answers["GET", "/v1/netcheck"] = (200, older)
    assert run(netcheck).exit_code == 0


def test_it_prints_json_for_programs(serve: Serve, run: Run) -> None:
    answering(serve, REPORT)
    assert msgspec.convert(json.loads(run(netcheck, "--json").stdout), NetcheckReport) == REPORT


def test_a_mesh_without_relays_is_said_to_have_none(serve: Serve, run: Run) -> None:
    answering(serve, NetcheckReport(at=1, full=True, udp=False, ipv4=False, ipv6=False))
    result = run(netcheck)
    assert "no relay is in the mesh" in result.stdout
    assert "home none" in lines(result)
    assert "NAT mapping not known: two relays have to answer over UDP and IPv4" in lines(result)


def test_without_a_daemon_it_says_so(run: Run) -> None:
    assert run(netcheck).exit_code == 7
