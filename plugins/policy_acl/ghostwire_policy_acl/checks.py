"""The `tests` of a policy: what must be let in and what must not, judged by the policy's rules in a mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ghostwire.errors import Finding
from ghostwire_policy_acl import names
from ghostwire_policy_acl.definitions import Definitions
from ghostwire_policy_acl.hujson import Member, Value
from ghostwire_policy_acl.names import Alias, Kind
from ghostwire_policy_acl.ports import USUAL, parse_ports, parse_protocol
from ghostwire_policy_acl.reading import Reader
from ghostwire_policy_acl.wording import Unreadable, shown

_KEYS = ("src", "proto", "accept", "deny", "srcPostureAttrs")
_PROTOCOLS = (6, 17, 132)


class Target(NamedTuple):
    """A destination of a test: one port of whoever ``alias`` means. ``accept``: it must be let in, else it must not."""

    alias: Alias
    port: int
    accept: bool
    text: str
    line: int
    column: int


class Check(NamedTuple):
    """One entry of `tests`. ``source`` must reach the targets by any of ``protocols``, or must not."""

    source: Alias
    protocols: tuple[int, ...]
    targets: Sequence[Target]
    line: int
    column: int


class CheckReader:
    """Reads them; ``checks`` are those without errors."""

    def __init__(self, reader: Reader, definitions: Definitions) -> None:
        self._reader, self._definitions = reader, definitions
        self.checks: list[Check] = []

    def read(self, value: Value | None) -> None:
        """Every test."""
        for item in self._reader.items(value, "tests"):
            self._read_one(item, self._reader.members(item, "a test", _KEYS))

    def _read_one(self, item: Value, fields: dict[str, Member]) -> None:
        source = self._source(item, fields.get("src"))
        protocols = self._protocols(fields.get("proto"))
        targets = [*self._targets(fields.get("accept"), "accept"), *self._targets(fields.get("deny"), "deny")]
        if not any(_given(fields.get(name)) for name in ("accept", "deny")):
            self._reader.wrong(item.start, "a test needs `accept` or `deny`: destinations that are reached, or are not")
        if _given(fields.get("srcPostureAttrs")):
            self._reader.wrong(fields["srcPostureAttrs"].start, "device postures are not known here")
        if source is not None:
            self.checks.append(Check(source, protocols, targets, *self._reader.document.place(item.start)))

    def _source(self, item: Value, member: Member | None) -> Alias | None:
        if member is None:
            self._reader.wrong(item.start, "a test needs `src`: who tries to reach the destinations")
            return None
        text = self._reader.text(member.value, "src")
        alias = self._definitions.alias(text, member.value.start) if text else None
        if alias is not None and alias.text in (names.SELF, names.INTERNET, names.DANGER_ALL):
            self._reader.wrong(member.value.start, f"{shown(alias.text)} can't be the source of a test")
            return None
        return alias

    def _protocols(self, member: Member | None) -> tuple[int, ...]:
        if member is None or not member.value.data:
            return USUAL
        data = member.value.data
        text = str(data) if type(data) is int else self._reader.text(member.value, "proto")
        try:
            number = parse_protocol(text)
        except Unreadable as error:
            self._reader.wrong(member.value.start, str(error))
            return USUAL
        if number not in _PROTOCOLS:
            self._reader.wrong(member.value.start, f"{shown(text)}: tests are of tcp, udp or sctp")
        return (number,)

    def _targets(self, member: Member | None, what: str) -> Iterator[Target]:
        for text, offset in self._reader.texts(member.value if member else None, what):
            try:
                name, ports_text = names.split_destination(text)
                ports = parse_ports(ports_text)
            except Unreadable as error:
                self._reader.wrong(offset, str(error))
                continue
            alias = self._definitions.alias(name, offset)
            if len(ports) != 1 or ports[0][0] != ports[0][1]:
                self._reader.wrong(offset, f"{shown(text)}: a test is of one port")
            elif alias is not None and self._is_one(alias, name, offset):
                place = self._reader.document.place(offset)
                yield Target(alias, ports[0][0], what == "accept", text, *place)

    def _is_one(self, alias: Alias, name: str, offset: int) -> bool:
        """Whether this can be tested: names of nodes, and single addresses."""
        if alias.text in (names.INTERNET, names.DANGER_ALL, names.SELF):
            self._reader.wrong(offset, f"{shown(name)} can't be tested: name an address, a user or a tag")
        elif alias.kind is Kind.IPSET or "/" in name or self._is_subnet(alias):
            self._reader.wrong(offset, f"{shown(name)} is more than one host: test one of its addresses")
        else:
            return True
        return False

    def _is_subnet(self, alias: Alias) -> bool:
        return any(prefix.prefixlen < prefix.max_prefixlen for prefix in self._definitions.prefixes(alias))


def failure(target: Target, source: str, reached: bool) -> Finding:
    """What is told of a test that failed."""
    what = "is reached" if reached else "is not reached"
    return Finding(target.line, target.column, f"test failed: {shown(target.text)} {what} from {shown(source)}")


def _given(member: Member | None) -> bool:
    return member is not None and bool(member.value.data)
