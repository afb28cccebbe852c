"""The nftables table of one interface: built whole, as `nft -j` reads it, and put in place in one transaction; pure.

The table's chains, all of family inet:

* ``input`` and ``forward`` ask ``check`` about what comes out of the device, where there are firewall rules. The reply
  direction of a connection passes, the original one is judged packet by packet: so a connection ends with the rule that
  allowed it. Connection tracking joins fragments before.
* ``leave`` and ``forward`` ask ``answer`` about what goes into the device in the reply direction: what a peer began is
  answered as long as a rule allows it, so that no stream of datagrams outlives its rule.
* ``forward`` lets what comes out of the device pass to the forwarded prefixes alone, answers excepted.
* ``clamp`` keeps TCP within the device's MTU, ``postrouting`` masquerades what is forwarded.
* ``output`` drops what an isolated plugin sends to this machine, into the device, or to where clouds keep secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any, Final

import msgspec

from ghostwire import FirewallRule, Forwarding
from ghostwire.capabilities.platform import PLUGIN_MARK

PREFIX: Final = "ghostwire_"
"""Our tables begin so."""
Command = dict[str, Any]
Prefix = IPv4Network | IPv6Network

CLOSED: Final = (
    "169.254.0.0/16", "fe80::/10", "224.0.0.0/4", "ff00::/8", "255.255.255.255/32",
    "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::254/128",
)  # fmt: skip
"""Link-local, multicast and broadcast addresses, and where clouds tell a machine its secrets besides."""
_PORTED: Final = (6, 17, 33, 132, 136)
"""TCP, UDP, DCCP, SCTP, UDP-Lite."""
_ICMP: Final = (1, 58)
_PROTOCOLS: Final = {"ip": IPv4Network, "ip6": IPv6Network}


class Wanted(msgspec.Struct, frozen=True):
    """What a table is for; ``rules`` None is no firewall."""

    interface: str
    rules: tuple[FirewallRule, ...] | None = None
    forwarding: Forwarding | None = None
    isolated: bool = False

    @property
    def empty(self) -> bool:
        """Whether there need be no table."""
        return self.rules is None and self.forwarding is None and not self.isolated


def table_name(interface: str) -> str:
    """The table's name."""
    return PREFIX + "".join(each if each.isascii() and each.isalnum() else f"_{ord(each):x}_" for each in interface)


def transaction(wanted: Wanted) -> list[Command]:
    """Replaces the table, or removes it, whether or not it is there."""
    table = {"family": "inet", "name": table_name(wanted.interface)}
    made = _Table(wanted).commands() if not wanted.empty else []
    return [{"add": {"table": table}}, {"delete": {"table": table}}, *made]


class _Table:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._name = wanted, table_name(wanted.interface)
        self._sets: dict[tuple[str, tuple[str, ...]], str] = {}
        self._before: list[Command] = []
        self._rules: list[Command] = []

    def commands(self) -> list[Command]:
        """All that makes the table: chains and sets before the rules that name them."""
        wanted = self._wanted
        if wanted.isolated:
            self._confine()
        if wanted.rules is not None:
            self._firewall(wanted.rules)
        if wanted.forwarding is not None:
            self._forward(wanted.forwarding)
        return [{"add": {"table": {"family": "inet", "name": self._name}}}, *self._before, *self._rules]

    def _confine(self) -> None:
        self._chain("output", "filter", 0)
        marked = _is(_meta("mark"), PLUGIN_MARK)
        for name in ("lo", self._wanted.interface):
            self._rule("output", marked, _is(_meta("oifname"), name), {"drop": None})
        for protocol, group in self._groups(CLOSED):
            self._rule("output", marked, _is(_field(protocol, "daddr"), group), {"drop": None})

    def _firewall(self, rules: Sequence[FirewallRule]) -> None:
        self._chain("check")
        self._chain("answer")
        self._chain("input", "filter", 0)
        self._chain("leave", "filter", 0, hook="output")
        self._chain("forward", "filter", 0)
        replies = _is(_ct("direction"), "reply")
        for chain in ("input", "forward"):
            self._rule(chain, self._arrived(), {"jump": {"target": "check"}})
        for chain in ("leave", "forward"):
            self._rule(chain, _is(_meta("oifname"), self._wanted.interface), replies, {"jump": {"target": "answer"}})
        self._rule("check", replies, {"accept": None})
        for chain in ("check", "answer"):
            self._rule(chain, _is(_ct("state"), ["related"], "in"), _protocols(_ICMP), {"accept": None})
        for rule in rules:
            self._allow(rule)
        for chain in ("check", "answer"):
            self._rule(chain, {"drop": None})

    def _allow(self, rule: FirewallRule) -> None:
        targets = dict(self._groups(rule.destinations))
        for protocol, source in self._groups(rule.sources):
            if protocol not in targets:
                continue
            for chain, begun, meant, port in (
                ("check", "saddr", "daddr", "dport"),
                ("answer", "daddr", "saddr", "sport"),
            ):
                ends = [_is(_field(protocol, begun), source), _is(_field(protocol, meant), targets[protocol])]
                for what in _kinds(rule, port):
                    self._rule(chain, *ends, *what, {"accept": None})

    def _forward(self, forwarding: Forwarding) -> None:
        if self._wanted.rules is None:
            self._chain("forward", "filter", 0)
        self._chain("clamp", "filter", -150, hook="forward")
        syn = {"match": {"op": "in", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": "syn"}}
        size = {"tcp option": {"name": "maxseg", "field": "size"}}
        clamp = {"mangle": {"key": size, "value": {"rt": {"key": "mtu"}}}}
        self._rule("clamp", _is(_meta("oifname"), self._wanted.interface), syn, clamp)
        groups = dict(self._groups(forwarding.prefixes))
        begun = (self._arrived(), _is(_ct("direction"), "original"))
        for protocol, family in (("ip", "ipv4"), ("ip6", "ipv6")):
            beside = _is(_meta("nfproto"), family)
            if protocol in groups:
                beside = _is(_field(protocol, "daddr"), groups[protocol], "!=")
            self._rule("forward", *begun, beside, {"drop": None})
        if forwarding.masquerade:
            self._chain("postrouting", "nat", 100)
            for protocol, group in groups.items():
                leaving = _is(_meta("oifname"), self._wanted.interface, "!=")
                target = _is(_field(protocol, "daddr"), group)
                self._rule("postrouting", self._arrived(), leaving, target, {"masquerade": None})

    def _arrived(self) -> Command:
        return _is(_meta("iifname"), self._wanted.interface)

    def _chain(self, name: str, kind: str = "", priority: int = 0, hook: str = "") -> None:
        chain: Command = {"family": "inet", "table": self._name, "name": name}
        if kind:
            chain |= {"type": kind, "hook": hook or name, "prio": priority, "policy": "accept"}
        self._before.append({"add": {"chain": chain}})

    def _rule(self, chain: str, *expressions: Command) -> None:
        rule = {"family": "inet", "table": self._name, "chain": chain, "expr": list(expressions)}
        self._rules.append({"add": {"rule": rule}})

    def _groups(self, prefixes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The prefixes as a named set of each family that has any; equal ones share it."""
        parsed: list[Prefix] = [ip_network(text, strict=False) for text in prefixes]
        for protocol, kind in _PROTOCOLS.items():
            found = [str(each) for each in collapse_addresses(each for each in parsed if isinstance(each, kind))]  # type: ignore[type-var]
            if found:
                yield protocol, "@" + self._set(protocol, tuple(found))

    def _set(self, protocol: str, found: tuple[str, ...]) -> str:
        if (protocol, found) not in self._sets:
            name = self._sets[protocol, found] = f"s{len(self._sets)}"
            kind = "ipv4_addr" if protocol == "ip" else "ipv6_addr"
            made = {"family": "inet", "table": self._name, "name": name, "type": kind, "flags": ["interval"]}
            self._before.append({"add": {"set": {**made, "elem": [_element(each) for each in found]}}})
        return self._sets[protocol, found]


def _kinds(rule: FirewallRule, port: str) -> Iterator[tuple[Command, ...]]:
    """The matches of protocol and port (``dport``, in answers ``sport``) that a rule stands for; ICMP has no ports."""
    if not rule.ports:
        yield (_protocols(rule.protocols),) if rule.protocols else ()
        return
    ported = [each for each in _PORTED if not rule.protocols or each in rule.protocols]
    if ported:
        ports = [{"range": list(each)} if each[0] < each[1] else each[0] for each in rule.ports]
        yield _protocols(ported), _is({"payload": {"protocol": "th", "field": port}}, {"set": ports})
    bare = [each for each in _ICMP if not rule.protocols or each in rule.protocols]
    if bare:
        yield (_protocols(bare),)


def _protocols(numbers: Iterable[int]) -> Command:
    return _is(_meta("l4proto"), {"set": list(numbers)})


def _is(left: Any, right: Any, operator: str = "==") -> Command:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str) -> Command:
    return {"meta": {"key": key}}


def _ct(key: str) -> Command:
    return {"ct": {"key": key}}


def _field(protocol: str, field: str) -> Command:
    return {"payload": {"protocol": protocol, "field": field}}


def _element(text: str) -> Any:
    address, _, length = text.partition("/")
    whole = ip_network(text).prefixlen == ip_network(text).max_prefixlen
    return address if whole else {"prefix": {"addr": address, "len": int(length)}}
