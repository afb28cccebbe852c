"""What a policy gives names to: groups, tags, hosts and IP sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import collapse_addresses
from typing import TypeVar

from ghostwire.capabilities.policy import Prefix
from ghostwire_policy_acl import names
from ghostwire_policy_acl.hujson import Member, Value
from ghostwire_policy_acl.names import Alias, Kind, parse_alias
from ghostwire_policy_acl.reading import Reader
from ghostwire_policy_acl.wording import Unreadable, shown

T = TypeVar("T")
MAX_WILDCARDS = 1000
"""Different words with a ``*`` for users, each of which is compared with each user."""
MAX_PREFIXES = 1000
"""Of one IP set, and how many items it is written with."""


class Definitions:
    """Reads them; afterwards `alias` checks every other name of the policy against them."""

    def __init__(self, reader: Reader, sections: dict[str, Member]) -> None:
        self._reader = reader
        self.groups: dict[str, Sequence[str]] = {}
        self.hosts: dict[str, Prefix] = {}
        self.ipsets: dict[str, Sequence[Prefix]] = {}
        self.tags: dict[str, Sequence[str]] = {}
        self._wildcards: set[str] = set()
        self._texts: dict[Alias, Sequence[str]] = {}
        self._read_groups(_value(sections, "groups"))
        self._read_hosts(_value(sections, "hosts"))
        self._read_ipsets(_value(sections, "ipsets"))
        self._read_tags(_value(sections, "tagOwners"))

    def alias(self, text: str, offset: int) -> Alias | None:
        """A name that stands for something; None where it does not, which is noted as an error."""
        alias = self._try(offset, parse_alias, text)
        if alias is not None and alias.kind is Kind.USER:
            self._count(alias.text, offset)
        return alias if alias is not None and self._known(alias, offset) else None

    def aliases(self, value: Value | None, what: str) -> list[tuple[Alias, int]]:
        """An array of names, each with its place; without those that are wrong."""
        return list(self._aliases(value, what))

    def prefixes(self, alias: Alias) -> Sequence[Prefix]:
        """The addresses that a literal name stands for; none for names of people and nodes."""
        if alias.prefix is not None:
            return (alias.prefix,)
        if alias.kind is Kind.HOST:
            return (self.hosts[alias.text],)
        return self.ipsets[alias.text] if alias.kind is Kind.IPSET else ()

    def prefix_texts(self, alias: Alias) -> Sequence[str]:
        """The same as text."""
        if alias not in self._texts:
            self._texts[alias] = tuple(map(str, self.prefixes(alias)))
        return self._texts[alias]

    def _aliases(self, value: Value | None, what: str) -> Iterator[tuple[Alias, int]]:
        for text, offset in self._reader.texts(value, what):
            alias = self.alias(text, offset)
            if alias is not None:
                yield alias, offset

    def _known(self, alias: Alias, offset: int) -> bool:
        if alias.kind is Kind.AUTOGROUP:
            return self._known_autogroup(alias.text, offset)
        known = self._defined(alias.kind)
        if known is None or alias.text in known:
            return True
        hint = "; tags must be in tagOwners" if alias.kind is Kind.TAG else ""
        self._reader.unknown(offset, alias.kind.value, alias.text, known, hint)
        return False

    def _defined(self, kind: Kind) -> Collection[str] | None:
        """The names of a kind that the policy must define; None where there is no such need."""
        by_kind: dict[Kind, Collection[str]] = {
            Kind.GROUP: self.groups,
            Kind.HOST: self.hosts,
            Kind.IPSET: self.ipsets,
            Kind.TAG: self.tags,
        }
        return by_kind.get(kind)

    def _known_autogroup(self, text: str, offset: int) -> bool:
        if text in names.AUTOGROUPS:
            return True
        if text in names.ROLES:
            self._reader.wrong(
                offset, f"{shown(text)} means nobody here, as users have no such roles: name a group of those you mean"
            )
        else:
            self._reader.unknown(offset, "autogroup", text, names.AUTOGROUPS)
        return False

    def _try(self, offset: int, parse: Callable[[str], T], text: str) -> T | None:
        try:
            return parse(text)
        except Unreadable as error:
            self._reader.wrong(offset, str(error))
            return None

    def _read_groups(self, value: Value | None) -> None:
        groups = self._reader.members(value, "groups")
        for name, member in groups.items():
            self._try(member.start, names.check_group, name)
            members = [
                self._member(text, offset, name) for text, offset in self._reader.texts(member.value, shown(name))
            ]
            self.groups[name] = [each for each in members if each]

    def _member(self, text: str, offset: int, group: str) -> str | None:
        if text.startswith("group:"):
            self._reader.wrong(offset, f"{shown(group)} has the member {shown(text)}, but groups hold users only")
            return None
        if "@" not in text:
            self._reader.wrong(
                offset, f"{shown(text)} is no user: write NAME@DOMAIN, or {shown(text + '@')} for a name without domain"
            )
            return None
        user = self._try(offset, names.check_user, text.removeprefix("user:"))
        self._count(user or "", offset)
        return user

    def _count(self, user: str, offset: int) -> None:
        if "*" in user and user not in self._wildcards:
            self._wildcards.add(user)
            if len(self._wildcards) == MAX_WILDCARDS + 1:
                self._reader.wrong(offset, f"there are more than {MAX_WILDCARDS} different words with a `*` for users")

    def _read_hosts(self, value: Value | None) -> None:
        for name, member in self._reader.members(value, "hosts").items():
            self._try(member.start, names.check_host, name)
            text = self._reader.text(member.value, f"the host {shown(name)}")
            prefix = names.parse_prefix(text)
            if prefix is None and text:
                self._reader.wrong(member.value.start, f"{shown(text)} is no address and no prefix")
            if prefix is not None:
                self.hosts[name] = prefix

    def _read_tags(self, value: Value | None) -> None:
        tags = self._reader.members(value, "tagOwners")
        for name, member in tags.items():
            self._try(member.start, names.check_tag, name)
            self.tags[name] = ()
        for name, member in tags.items():
            self.tags[name] = self.owners(member.value, shown(name))

    def owners(self, value: Value | None, what: str) -> Sequence[str]:
        """An array of users, groups, tags and autogroups, as tagOwners and autoApprovers have them."""
        found = []
        for text, offset in self._reader.texts(value, what):
            if text in names.ROLES:  # administrators may do it in any case
                continue
            alias = self.alias(text, offset)
            if alias is not None and alias.kind in (Kind.USER, Kind.GROUP, Kind.TAG, Kind.AUTOGROUP):
                found.append(alias.text)
            elif alias is not None:
                self._reader.wrong(offset, f"{shown(text)} can own nothing: name users, groups or tags")
        return tuple(found)

    def _read_ipsets(self, value: Value | None) -> None:
        sets = self._reader.members(value, "ipsets")
        for name, member in sets.items():
            if not name.startswith("ipset:"):
                self._reader.wrong(member.start, f"{shown(name)} is no IP set: write ipset:NAME")
            self.ipsets[name] = self._ipset(member.value, name)

    def _ipset(self, value: Value, name: str) -> Sequence[Prefix]:
        held: list[Prefix] = []
        items = self._reader.texts(value, shown(name))
        for text, offset in items[:MAX_PREFIXES]:
            action, _, rest = text.partition(" ") if text.startswith(("add ", "remove ")) else ("add", "", text)
            changed = self._set_item(rest.strip(), offset)
            if action == "add":
                held += changed
            else:
                held = [left for each in collapsed(held) for left in _without(each, changed)]
            if not self._reader.affords(offset, len(changed) if action == "add" else len(held)):
                return ()
            if len(held) > 2 * MAX_PREFIXES:
                held = list(collapsed(held))
        held = list(collapsed(held))
        if len(items) > MAX_PREFIXES or len(held) > MAX_PREFIXES:
            self._reader.wrong(value.start, f"an IP set has at most {MAX_PREFIXES} items and prefixes")
        return tuple(held[:MAX_PREFIXES])

    def _set_item(self, text: str, offset: int) -> Sequence[Prefix]:
        if text.startswith("ipset:"):
            if text in self.ipsets:
                return self.ipsets[text]
            self._reader.unknown(offset, "IP set (above this one)", text, self.ipsets)
            return ()
        name = text.removeprefix("host:")
        prefix = names.parse_prefix(name)
        if prefix is not None:
            return (prefix,)
        if name in self.hosts:
            return (self.hosts[name],)
        self._reader.unknown(offset, "host", name, self.hosts)
        return ()


def collapsed(prefixes: Sequence[Prefix]) -> Sequence[Prefix]:
    """The same addresses in as few prefixes as can be, IPv4 first."""
    four = collapse_addresses(each for each in prefixes if each.version == 4)
    six = collapse_addresses(each for each in prefixes if each.version == 6)
    return (*four, *six)


def _without(prefix: Prefix, removed: Sequence[Prefix]) -> list[Prefix]:
    left = [prefix]
    for gone in removed:
        left = [part for each in left for part in _minus(each, gone)]
    return left


def _minus(prefix: Prefix, gone: Prefix) -> Sequence[Prefix]:
    if prefix.version != gone.version or not prefix.overlaps(gone):
        return (prefix,)
    if gone.supernet_of(prefix):  # type: ignore[arg-type]
        return ()
    return tuple(prefix.address_exclude(gone))  # type: ignore[arg-type]


def _value(sections: dict[str, Member], name: str) -> Value | None:
    member = sections.get(name)
    return member.value if member else None
