"""Policies in force between the real programs: who reaches whom, who knows of whom, and how soon a change holds."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest
from company import PARTS, PORTS, Company, Stream, silence_after
from lans import Conversation, asks
from natlab import Lab
from programs import CROWDED, wait_for

pytestmark = pytest.mark.usefixtures("tun")

Record = Callable[[str, object], None]
ORIGINAL = (Path(__file__).parents[1] / "data" / "example.hujson").read_text()
OFFICE = """{
  "groups": {"group:ops": ["alice@company.com"], "group:dev": ["*.dev@company.com"]},
  "tagOwners": {"tag:server": ["group:ops"]},
  "hosts": {"laptop": "100.64.0.%d"},
  "acls": [
    {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]},
    {"action": "accept", "src": ["group:dev"], "proto": "tcp", "dst": ["tag:server:80"]},
    {"action": "accept", "src": ["bob@company.com"], "proto": "udp", "dst": ["tag:server:2000-3000"]},
    {"action": "accept", "src": ["tag:server"], "dst": ["laptop:2222"]},
  ],
  "grants": [{"src": ["group:ops"], "dst": ["group:dev"], "ip": ["icmp:*", "tcp:80"]}],
}
"""
DEVELOPERS = '{"action": "accept", "src": ["*.dev@company.com"], "dst": ["tag:server:%s"]}'


def of(*rules: str) -> str:
    """A policy of these access rules."""
    return f'{{"tagOwners": {{"tag:server": []}}, "acls": [{", ".join(rules)}]}}'


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Company]]:
    """Gives a company by how its nodes filter."""
    with contextlib.ExitStack() as stack:

        @cache
        def company(filter_: str) -> Company:
            lab = stack.enter_context(Lab())
            made = Company(tmp_path_factory.mktemp(filter_), lab, f'[node]\nfilter = "{filter_}"\n')
            stack.enter_context(made.open_for_business())
            return made

        yield company


@pytest.fixture(params=["userspace"])
def company(request: pytest.FixtureRequest, companies: Callable[[str], Company]) -> Company:
    return companies(request.param)


@pytest.fixture
def office(company: Company) -> str:
    """A policy with rules of every kind, for this company's addresses."""
    return OFFICE % int(company.addresses["laptop"][4].rpartition(".")[2])


@pytest.mark.parametrize(
    ("company", "which"),
    [("userspace", "original"), ("userspace", "office"), ("kernel", "office")],
    indirect=["company"],
)
def test_every_packet_comes_in_where_the_policy_says_so_and_nowhere_else(
    company: Company, office: str, which: str
) -> None:
    company.decree(ORIGINAL if which == "original" else office)
    company.obeyed()


def test_nodes_are_told_of_those_alone_whom_the_policy_leads_to_or_from(company: Company, office: str) -> None:
    company.decree(ORIGINAL)
    wait_for("dev knows all", lambda: company.known("dev") == PARTS.keys() - {"dev"}, CROWDED)
    company.decree(office)
    meant = {
        "laptop": {"desk", "dev", "web"},
        "desk": {"laptop", "dev"},
        "phone": {"web"},
        "dev": {"laptop", "desk", "web"},
        "web": {"laptop", "phone", "dev"},
    }
    for name, peers in meant.items():
        wait_for(f"{name} knows {peers}", lambda name=name, peers=peers: company.known(name) == peers, CROWDED)
    shown = json.loads(company["phone"].gwctl("status", "--json"))
    assert [peer["name"] for peer in shown["peers"]] == ["web"]
    strangers = company.addresses["laptop"], company.addresses["desk"]
    cache = company["phone"].state / "node" / "map.cache"
    wait_for("phone forgot them", lambda: not any(a[4].encode() in cache.read_bytes() for a in strangers), CROWDED)
    assert company["phone"].gwctl("ip", "laptop", fails=8).startswith("error: no node named laptop")


CHANGES = {"another port": of(DEVELOPERS % "443"), "nothing": of()}
EITHER = pytest.mark.parametrize("company", ["userspace", "kernel"], indirect=True)


@EITHER
def test_a_change_ends_live_tcp_flows_and_lets_new_ones_in_within_a_second(
    company: Company, request: pytest.FixtureRequest, record_property: Record
) -> None:
    web = company.addresses["web"]
    for change, policy in CHANGES.items():
        company.decree(of(DEVELOPERS % PORTS[0]))
        for version in (4, 6):
            _until_reached(company, "dev", web[version])
        with contextlib.ExitStack() as stack:
            talks = [Conversation(company.lab, "dev", web[version], PORTS[0], pause=0.01) for version in (4, 6)]
            for talk in talks:
                stack.enter_context(talk)
            wait_for("they talk", lambda: all(talk.answered > 20 for talk in talks), CROWDED)  # noqa: B023
            cut = silence_after(talks, partial(company.decree, policy))
        opened = _reopened(company, 4 if change == "nothing" else 6)
        row = {"filter": request.node.callspec.params["company"], "allowed then": change}
        record_property("table policy changes", {**row, "cut after s": f"{cut:.3f}", "open after s": f"{opened:.3f}"})
        assert cut < 1
        assert opened < 1


def _until_reached(company: Company, source: str, address: str, patience: float = CROWDED) -> None:
    kind = socket.SOCK_STREAM
    wait_for("it is reached", lambda: asks(company.lab, source, address, PORTS[0], kind, timeout=0.2), patience)


def _reopened(company: Company, version: int) -> float:
    """Shut, and open again: the seconds until a new flow comes in."""
    web = company.addresses["web"][version]
    company.decree(of())
    wait_for("it is shut", lambda: "web" not in company.known("dev"))
    began = time.monotonic()
    company.decree(of(DEVELOPERS % PORTS[0]))
    _until_reached(company, "dev", web)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("company", "version"), [("userspace", 4), ("userspace", 6), ("kernel", 4)], indirect=["company"]
)
def test_a_stream_of_datagrams_that_was_asked_for_ends_with_the_rule_that_let_the_question_in(
    company: Company, version: int
) -> None:
    web = company.addresses["web"][version]
    company.decree(of(DEVELOPERS % "5004"))
    with Stream(company.lab, "web", version) as stream, stream.listener("dev", web) as heard:
        wait_for("the stream comes", heard.many, CROWDED)
        began = time.monotonic()
        company.decree(CHANGES["another port"])
        wait_for("it is over", heard.silent)
        assert heard.last - began < 1
        sent = stream.sent
        wait_for("it is still sent", lambda: stream.sent > sent + 20)
