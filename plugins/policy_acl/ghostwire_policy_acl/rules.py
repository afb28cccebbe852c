"""Reads `acls` and `grants` into rules between selectors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ghostwire import PolicyRule
from ghostwire.capabilities.policy import EVERYONE
from ghostwire_policy_acl import names
from ghostwire_policy_acl.definitions import Definitions
from ghostwire_policy_acl.hujson import Member, Value
from ghostwire_policy_acl.names import Alias, Kind
from ghostwire_policy_acl.ports import (
    USUAL,
    Ports,
    check_ports,
    parse_ports,
    parse_protocol,
    parse_service,
)
from ghostwire_policy_acl.prefixes import INTERNET
from ghostwire_policy_acl.reading import Reader
from ghostwire_policy_acl.wording import Unreadable, shown

ALL = ("0.0.0.0/0", "::/0")
_INTERNET = tuple(str(prefix) for prefix in INTERNET)
_ACL_KEYS = ("action", "src", "dst", "proto", "srcPosture", "users", "ports")
_GRANT_KEYS = ("src", "dst", "ip", "app", "via", "srcPosture")
_NOT_SELF = (Kind.TAG, Kind.HOST, Kind.PREFIX, Kind.IPSET)
_CAPABILITIES = frozenset(
    f"tailscale.com/cap/{name}" for name in ("drive", "relay", "webui", "kubernetes", "tsidp", "secrets")
)
"""The capabilities of the field's own that its policies may grant."""


class Scope(NamedTuple):
    """What a rule lets in, and where it stands."""

    protocols: tuple[int, ...]
    ports: Ports
    line: int
    column: int


class Sources(NamedTuple):
    """Who a rule lets in: selectors, literal prefixes, and the selectors of who holds addresses of those."""

    selectors: tuple[str, ...]
    prefixes: tuple[str, ...]
    holders: tuple[str, ...]


class RuleReader:
    """``rules`` are those of the text; ``aliases`` all names in them; ``via`` (prefix, or `names.INTERNET`, and tag) of
    those rules that lead through certain routers only."""

    def __init__(self, reader: Reader, definitions: Definitions) -> None:
        self._reader, self._definitions = reader, definitions
        self.rules: list[PolicyRule] = []
        self.aliases: dict[Alias, None] = {}
        self.via: dict[tuple[str, str], None] = {}

    def read_acls(self, value: Value | None) -> None:
        """Every access rule."""
        for item in self._reader.items(value, "acls"):
            fields = self._reader.members(item, "an access rule", self._with_comments(item, _ACL_KEYS))
            self._read_acl(item, fields)

    def read_grants(self, value: Value | None) -> None:
        """Every grant."""
        for item in self._reader.items(value, "grants"):
            self._read_grant(item, self._reader.members(item, "a grant", _GRANT_KEYS))

    def _with_comments(self, item: Value, known: Sequence[str]) -> Sequence[str]:
        """Old policies have comments under keys that begin with ``#``."""
        given = item.data if isinstance(item.data, dict) else {}
        return (*known, *(key for key in given if key.startswith("#")))

    def _read_acl(self, item: Value, fields: dict[str, Member]) -> None:
        self._check_action(item, fields)
        self._refuse_posture(fields)
        sources = self._sources(_either(fields, "src", "users"))
        protocols = self._protocols(fields.get("proto"))
        destinations: dict[Ports, list[Alias]] = defaultdict(list)
        for alias, ports in self._destinations(_either(fields, "dst", "ports"), protocols):
            destinations[ports].append(alias)
        self._check_self([alias for each in destinations.values() for alias in each], sources, everyone=True)
        if not sources or not destinations:
            self._reader.warn(item.start, "this rule lets in nobody: it has no sources or no destinations")
        senders = self._senders([alias for alias, _ in sources], item.start)
        for ports, aliases in destinations.items():
            scope = Scope(protocols, ports, *self._reader.document.place(item.start))
            self._add(senders, aliases, scope, None, item.start)

    def _read_grant(self, item: Value, fields: dict[str, Member]) -> None:
        self._refuse_posture(fields)
        sources = self._sources(fields.get("src"))
        destinations = self._named(fields.get("dst"), "dst", to=True)
        services = self._services(fields.get("ip"))
        app = self._app(fields.get("app"))
        via = self._via(fields.get("via"))
        if not services and not app and not _given(fields.get("ip")):
            self._reader.wrong(item.start, "a grant needs `ip` (ports that it opens) or `app`")
        self._check_grant(destinations, app)
        self._check_self([alias for alias, _ in destinations], sources, everyone=False)
        place, senders = (
            self._reader.document.place(item.start),
            self._senders([alias for alias, _ in sources], item.start),
        )
        for protocols, ports in services.items():
            self._add(senders, [alias for alias, _ in destinations], Scope(protocols, ports, *place), via, item.start)

    def _check_grant(self, destinations: Sequence[tuple[Alias, int]], app: bool) -> None:
        for alias, offset in destinations:
            if app and alias.text == names.INTERNET:
                self._reader.wrong(offset, "`app` can't be granted to autogroup:internet")
            if alias.prefix is not None and alias.prefix.prefixlen == 0:
                self._reader.wrong(offset, f"{shown(alias.text)}: for all addresses write `*` or autogroup:internet")

    def _check_action(self, item: Value, fields: dict[str, Member]) -> None:
        member = fields.get("action")
        if member is None:
            if isinstance(item.data, dict):
                self._reader.wrong(item.start, 'an access rule needs "action": "accept"')
        elif member.value.data != "accept":
            self._reader.wrong(member.value.start, 'the only action is "accept": what no rule accepts is dropped')

    def _refuse_posture(self, fields: dict[str, Member]) -> None:
        member = fields.get("srcPosture")
        if member is not None and self._reader.items(member.value, "srcPosture"):
            self._reader.wrong(
                member.start, "device postures are not known here, and without them more would be let in"
            )

    def _sources(self, member: Member | None) -> list[tuple[Alias, int]]:
        return self._named(member, "src", to=False)

    def _named(self, member: Member | None, what: str, *, to: bool) -> list[tuple[Alias, int]]:
        found = self._definitions.aliases(member.value if member else None, what)
        return [pair for pair in found if self._placed(*pair, to=to)]

    def _placed(self, alias: Alias, offset: int, *, to: bool) -> bool:
        """Whether this autogroup may stand on this side of a rule."""
        if to and alias.text == names.DANGER_ALL:
            self._reader.wrong(offset, "autogroup:danger-all can only be a source")
        elif not to and alias.text in (names.SELF, names.INTERNET):
            self._reader.wrong(offset, f"{shown(alias.text)} can only be a destination")
        else:
            return True
        return False

    def _destinations(self, member: Member | None, protocols: tuple[int, ...]) -> Iterator[tuple[Alias, Ports]]:
        for text, offset in self._reader.texts(member.value if member else None, "dst"):
            try:
                name, ports_text = names.split_destination(text)
                ports = parse_ports(ports_text)
                if len(protocols) == 1:
                    check_ports(protocols[0], ports)
            except Unreadable as error:
                self._reader.wrong(offset, str(error))
                continue
            alias = self._definitions.alias(name, offset)
            if alias is not None and self._placed(alias, offset, to=True):
                yield alias, ports

    def _protocols(self, member: Member | None) -> tuple[int, ...]:
        if member is None or member.value.data is None or member.value.data == "":
            return USUAL
        data = member.value.data
        text = str(data) if type(data) is int else self._reader.text(member.value, "proto")
        try:
            return (parse_protocol(text),) if text else USUAL
        except Unreadable as error:
            self._reader.wrong(member.value.start, str(error))
            return USUAL

    def _services(self, member: Member | None) -> dict[tuple[int, ...], Ports]:
        """Protocols -> ports of them; no pair means any."""
        found: dict[tuple[int, ...], dict[tuple[int, int], None]] = {}
        any_: set[tuple[int, ...]] = set()
        for text, offset in self._reader.texts(member.value if member else None, "ip"):
            try:
                protocols, ports = parse_service(text)
            except Unreadable as error:
                self._reader.wrong(offset, str(error))
                continue
            found.setdefault(protocols, {}).update(dict.fromkeys(ports))
            if not ports:
                any_.add(protocols)
        return {protocols: () if protocols in any_ else tuple(ports) for protocols, ports in found.items()}

    def _app(self, member: Member | None) -> bool:
        """Whether capabilities are granted, which mean nothing here."""
        granted = self._reader.members(member.value if member else None, "app")
        for name, each in granted.items():
            domain, slash, path = name.partition("/")
            if "://" in name or not (domain and slash and path):
                self._reader.wrong(each.start, f"{shown(name)} is no capability: write DOMAIN/PATH")
            elif domain == "tailscale.com" and name not in _CAPABILITIES:
                self._reader.wrong(each.start, f"{shown(name)} is not for policies to grant")
            self._reader.items(each.value, shown(name))
        if granted and member is not None:
            self._reader.warn(member.start, "`app` has no effect: nodes grant no capabilities to applications")
        return bool(granted)

    def _via(self, member: Member | None) -> tuple[str, ...] | None:
        if member is None or member.value.data is None:
            return None
        found = self._definitions.aliases(member.value, "via")
        for alias, offset in found:
            if alias.kind is not Kind.TAG:
                self._reader.wrong(offset, f"{shown(alias.text)}: `via` names routers by tags only")
        return tuple(alias.text for alias, _ in found) or None

    def _check_self(
        self, destinations: Sequence[Alias], sources: Sequence[tuple[Alias, int]], *, everyone: bool
    ) -> None:
        if not any(alias.text == names.SELF for alias in destinations):
            return
        for alias, offset in sources:
            other = alias.kind is Kind.AUTOGROUP and alias.text != names.MEMBER
            if alias.kind in _NOT_SELF or other or (alias.kind is Kind.EVERYONE and not everyone):
                self._reader.wrong(
                    offset,
                    f"{shown(alias.text)} with autogroup:self: only users have nodes of their own; name users, groups "
                    "or autogroup:member",
                )

    def _add(
        self, senders: Sources, destinations: Sequence[Alias], scope: Scope, via: tuple[str, ...] | None, offset: int
    ) -> None:
        if not self._pays(senders, destinations, scope, via, offset):
            return
        self.aliases.update(dict.fromkeys(destinations))
        if via is not None:
            self._add_via(senders, destinations, scope, via, offset)
            return
        selectors = tuple(dict.fromkeys(alias.text for alias in destinations if _is_selector(alias)))
        if selectors:
            self._put(senders, scope, selectors, ALL if EVERYONE in selectors else (), ())
        prefixes = self._literal(destinations)
        internet = any(alias.text == names.INTERNET for alias in destinations)
        if prefixes or internet:
            holders = (*prefixes, names.INTERNET) if internet else prefixes
            self._put(senders, scope, (), (*prefixes, *_INTERNET) if internet else prefixes, holders)
        if any(alias.text == names.SELF for alias in destinations):
            self.rules.append(PolicyRule(sources=senders.selectors, own=True, **scope._asdict()))

    def _pays(
        self, senders: Sources, destinations: Sequence[Alias], scope: Scope, via: tuple[str, ...] | None, offset: int
    ) -> bool:
        """Whether there is a source, and room for what this comes to."""
        targets = sum(max(1, len(self._definitions.prefixes(alias))) for alias in destinations)
        names = len(senders.selectors) + len(senders.prefixes) + len(scope.ports) + targets * (1 + len(via or ()))
        return bool(senders.selectors or senders.prefixes) and self._reader.affords(offset, names)

    def _add_via(
        self, senders: Sources, destinations: Sequence[Alias], scope: Scope, via: tuple[str, ...], offset: int
    ) -> None:
        """Literal destinations behind routers that carry one of these tags."""
        for prefix in self._literal(destinations):
            self._put(senders, scope, (), (prefix,), self._composites(prefix, via))
        if any(alias.text == names.INTERNET for alias in destinations):
            self._put(senders, scope, (), _INTERNET, self._composites(names.INTERNET, via))
        for alias in destinations:
            if _is_selector(alias) or alias.text == names.SELF:
                self._reader.warn(
                    offset,
                    f"{shown(alias.text)} is not behind a router: with `via`, only prefixes, hosts and "
                    "autogroup:internet are reached",
                )

    def _composites(self, prefix: str, via: tuple[str, ...]) -> tuple[str, ...]:
        self.via.update(dict.fromkeys((prefix, tag) for tag in via))
        return tuple(composite(prefix, tag) for tag in via)

    def _put(
        self,
        senders: Sources,
        scope: Scope,
        selectors: tuple[str, ...],
        prefixes: tuple[str, ...],
        holders: tuple[str, ...],
    ) -> None:
        self.rules.append(
            PolicyRule(
                sources=senders.selectors,
                source_prefixes=senders.prefixes,
                source_holders=senders.holders,
                destinations=selectors,
                destination_prefixes=prefixes,
                destination_holders=holders,
                **scope._asdict(),
            )
        )

    def _senders(self, aliases: Sequence[Alias], offset: int) -> Sources:
        self.aliases.update(dict.fromkeys(aliases))
        if not self._reader.affords(offset, sum(len(self._definitions.prefixes(alias)) for alias in set(aliases))):
            return Sources((), (), ())
        selectors = dict.fromkeys(alias.text for alias in aliases if _is_selector(alias))
        literal = self._literal(aliases)
        if any(alias.text == names.DANGER_ALL for alias in aliases):
            return Sources((EVERYONE, *selectors), (*ALL, *literal), literal)
        return Sources(tuple(selectors), literal, literal)

    def _literal(self, aliases: Sequence[Alias]) -> tuple[str, ...]:
        once = dict.fromkeys(aliases)
        return tuple(dict.fromkeys(text for alias in once for text in self._definitions.prefix_texts(alias)))


def composite(prefix: str, tag: str) -> str:
    """The selector of routers with this tag that lead to this prefix, or to the internet."""
    return f"{prefix} via {tag}"


def _is_selector(alias: Alias) -> bool:
    if alias.kind is Kind.AUTOGROUP:
        return alias.text in (names.MEMBER, names.TAGGED)
    return alias.kind in (Kind.EVERYONE, Kind.USER, Kind.GROUP, Kind.TAG)


def _either(fields: dict[str, Member], name: str, old: str) -> Member | None:
    return fields.get(name) or fields.get(old)


def _given(member: Member | None) -> bool:
    return member is not None and bool(member.value.data)
