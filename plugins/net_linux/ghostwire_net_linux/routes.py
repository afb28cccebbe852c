"""Brings an interface's own tables and rules to exactly what `plan` says, over netlink; runs in the child."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import ip_network
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from ghostwire.capabilities.platform import SOCKET_MARK, SOCKET_MASK
from ghostwire.errors import PlatformError
from ghostwire_net_linux.journal import Journal
from ghostwire_net_linux.plan import DEFAULT, FAMILIES, SPECIFIC, TABLES, Entry, Lookup, tables

ROUTE_PROTOCOL = 71
"""Marks our routes and rules (rtm_protocol); free in /etc/iproute2/rt_protos."""
_INVERT = 0x2
"""FIB_RULE_INVERT: the rule is for packets without the mark."""
_TO_TABLE = 1
"""FR_ACT_TO_TBL."""
_KINDS = {1: "unicast", 7: "unreachable", 9: "throw"}
_LINK_SCOPE = 253
_NO_RULES = (
    "this kernel has no ip rules (CONFIG_IP_MULTIPLE_TABLES), without which a node can have no routes of its own"
)


class Routes:
    """The routes and rules of one interface, whose index is 0 where it is no more."""

    def __init__(self, netlink: Any, journal: Journal, interface: str, index: int) -> None:
        self._netlink, self._journal, self._index = netlink, journal, index
        self._tables = tables(interface)

    def check(self, wanted: Iterable[Entry]) -> None:
        """PlatformError where another running node has one of these prefixes."""
        own = {entry.prefix for entry in wanted if entry.kind == "unicast"}
        for message, entry in _held(self._netlink):
            elsewhere = entry.kind == "unicast" and message.get("oif") != self._index
            if elsewhere and entry.table not in self._tables and entry.prefix in own:
                raise PlatformError(f"{entry.prefix} is routed to another one already; does another node run here?")

    def away(self, wanted: set[Entry], rules: set[Lookup]) -> None:
        """Remove what is not wanted, rules first, so that none leads to half a table."""
        self._rules_away(rules)
        for message, entry in self._mine():
            if not self._right(message, entry, wanted):
                self._journal.do(f"remove route {_text(entry)}", partial(self._route, "del", entry, message))

    def come(self, wanted: set[Entry], rules: set[Lookup]) -> None:
        """Add what is missing, routes first."""
        held = {entry for message, entry in self._mine() if self._right(message, entry, wanted)}
        for entry in sorted(wanted - held, key=lambda entry: (entry.kind == "unicast", str(entry.prefix))):
            optional = entry.prefix.version == 6
            self._journal.do(f"add route {_text(entry)}", partial(self._route, "add", entry), optional=optional)
        here = {rule for message, rule in self._rules() if _shaped(message)}
        for rule in sorted(rules - here):
            self._journal.do(f"add rule {_said(rule)}", partial(self._rule, "add", rule), optional=rule.version == 6)

    def _rules_away(self, rules: set[Lookup]) -> None:
        seen = set[Lookup]()
        for message, rule in self._rules():
            if rule in rules - seen and _shaped(message):
                seen.add(rule)
                continue
            gone = partial(delete_rule, self._netlink, message)
            self._journal.do(f"remove rule {_said(rule)}", gone)

    def _rules(self) -> Iterator[tuple[Any, Lookup]]:
        return ((message, rule) for message, rule in held_rules(self._netlink) if rule.table in self._tables)

    def _mine(self) -> list[tuple[Any, Entry]]:
        return [(message, entry) for message, entry in _held(self._netlink) if entry.table in self._tables]

    def _right(self, message: Any, entry: Entry, wanted: set[Entry]) -> bool:
        ours = entry.kind != "unicast" or message.get("oif") == self._index
        return entry in wanted and ours and (message.get("priority") or 0) == entry.metric

    def _route(self, command: str, entry: Entry, held: Any = None) -> None:
        self._netlink.route(command, **_fields(entry, self._index, held))

    def _rule(self, command: str, rule: Lookup) -> None:
        self._netlink.rule(
            command,
            family=FAMILIES[rule.version],
            priority=rule.priority,
            table=rule.table,
            fwmark=SOCKET_MARK,
            fwmask=SOCKET_MASK,
            flags=_INVERT,
            protocol=ROUTE_PROTOCOL,
        )


def remove_dead(netlink: Any, journal: Journal) -> None:
    """Remove the routes and rules of ours that belong to no interface of this machine."""
    alive = {table for _, name in socket.if_nameindex() for table in tables(name)}
    for message, rule in held_rules(netlink):
        if rule.table not in alive:
            journal.do(f"remove rule {_said(rule)}", partial(delete_rule, netlink, message))
    for message, entry in _held(netlink):
        if entry.table not in alive:
            gone = partial(netlink.route, "del", **_fields(entry, 0, message))
            journal.do(f"remove route {_text(entry)}", gone)


def others(netlink: Any, interface: str) -> bool:
    """Whether a node runs on this machine, but for the one with this interface."""
    mine = tables(interface)
    alive = {table for _, name in socket.if_nameindex() for table in tables(name)}
    return any(rule.table in alive and rule.table not in mine for _, rule in held_rules(netlink))


def held_rules(netlink: Any) -> list[tuple[Any, Lookup]]:
    """The rules that lead to our tables; PlatformError where the kernel knows no rules."""
    found = []
    for version, family in FAMILIES.items():
        try:
            messages = list(netlink.get_rules(family=family))
        except NetlinkError as error:
            if version == 6 or error.code not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                continue
            raise PlatformError(_NO_RULES) from None
        for message in messages:
            table = message.get("table") or 0
            if table in TABLES:
                found.append((message, Lookup(message.get("priority") or 0, version, table)))
    return found


def delete_rule(netlink: Any, message: Any) -> None:
    """Remove exactly this rule."""
    netlink.rule(
        "del",
        family=message["family"],
        priority=message.get("priority") or 0,
        table=message.get("table"),
        **{name: message.get(name) for name in ("fwmark", "fwmask") if message.get(name) is not None},
        flags=message["flags"] & _INVERT,
    )


def _held(netlink: Any) -> list[tuple[Any, Entry]]:
    """What is in tables of ours."""
    found = []
    for version, family in FAMILIES.items():
        default = "0.0.0.0" if version == 4 else "::"
        for message in netlink.get_routes(family=family):
            table = message.get("table") or 0
            if table in TABLES:
                prefix = ip_network(f"{message.get('dst') or default}/{message['dst_len']}")
                found.append((message, Entry(table, prefix, _KINDS.get(message["type"], "?"))))  # type: ignore[arg-type]
    return found


def _fields(entry: Entry, index: int, held: Any = None) -> dict[str, Any]:
    """A route as netlink is told of it: a new one, or one that is ``held``."""
    fields: dict[str, Any] = {"dst": str(entry.prefix), "table": entry.table, "family": FAMILIES[entry.prefix.version]}
    if held is not None:
        scope = {"scope": held["scope"]} if entry.prefix.version == 4 else {}
        out = {"oif": held.get("oif")} if held["type"] == 1 and held.get("oif") else {}
        return {**fields, "type": held["type"], "priority": held.get("priority") or 0, **scope, **out}
    fields |= {"type": entry.kind, "priority": entry.metric, "proto": ROUTE_PROTOCOL, "scope": 0}
    if entry.kind == "unicast":
        fields |= {"oif": index, "scope": _LINK_SCOPE if entry.prefix.version == 4 else 0}
    return fields


def _shaped(message: Any) -> bool:
    """Whether a rule is as we make it."""
    marked = (message.get("fwmark"), message.get("fwmask")) == (SOCKET_MARK, SOCKET_MASK)
    plain = not message["src_len"] and not message["dst_len"] and message["action"] == _TO_TABLE
    return marked and plain and bool(message["flags"] & _INVERT) and message.get("priority") in (SPECIFIC, DEFAULT)


def _text(entry: Entry) -> str:
    return str(entry.prefix) if entry.kind == "unicast" else f"{entry.kind} {entry.prefix}"


def _said(rule: Lookup) -> str:
    return f"{rule.priority} for IPv{rule.version} to table {rule.table}"
