"""The policy engine ``acl``: from a text to rules between selectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ghostwire import Bearer, CompiledPolicy, Person, PolicyEngine
from ghostwire.errors import Finding, PolicyError
from ghostwire_policy_acl import names
from ghostwire_policy_acl.checks import CheckReader
from ghostwire_policy_acl.compiled import AclPolicy, Approvers, Parts
from ghostwire_policy_acl.definitions import Definitions
from ghostwire_policy_acl.hujson import Member, Value, parse
from ghostwire_policy_acl.matching import Directory, Matcher
from ghostwire_policy_acl.names import Alias, Kind, parse_alias
from ghostwire_policy_acl.reading import Reader
from ghostwire_policy_acl.rules import RuleReader
from ghostwire_policy_acl.settings import Settings
from ghostwire_policy_acl.trying import Trial
from ghostwire_policy_acl.wording import shown

WITHOUT_EFFECT = {
    "ssh": "these rules have no effect: who may log in by SSH is for the machines' own SSH servers to say",
    "randomizeClientPort": "this has no effect: the port is a setting of each node",
    "disableIPv4": "this has no effect: a mesh's addresses are a setting of the server",
    "OneCGNATRoute": "this has no effect: nodes route the mesh's prefix alone",
    "derpMap": "this has no effect: relays are added on the server, see `gwctl relay`",
    "extraDNSRecords": "this has no effect: names are no part of the policy",
}
"""Keys of the field's policies that mean nothing here, and leave out nothing that keeps traffic away."""
REFUSED = {
    "postures": "device postures are not known here, and without them more would be let in than is meant",
    "defaultSrcPosture": "device postures are not known here, and without them more would be let in than is meant",
    "sshTests": "there are no SSH rules here that could be tested: remove these tests",
}
SECTIONS = (
    *("groups", "hosts", "ipsets", "tagOwners", "acls", "grants", "autoApprovers", "nodeAttrs", "tests"),
    *WITHOUT_EFFECT,
    *REFUSED,
)


class AclEngine(PolicyEngine):
    """``domains`` binds e-mail domains to issuers (see `Settings`)."""

    name = "acl"

    def __init__(self, settings: Settings) -> None:
        self._domains = settings.domains

    def compile(self, source: str) -> CompiledPolicy:
        """Read a policy; PolicyError with all that is wrong."""
        reader = Reader(parse(source))
        policy = _read(reader, self._domains)
        if reader.errors:
            raise PolicyError(reader.errors)
        return policy

    def test(self, policy: CompiledPolicy, people: Sequence[Person], nodes: Sequence[Bearer]) -> Sequence[Finding]:
        """Run its tests; what fails."""
        if not isinstance(policy, AclPolicy) or not policy.checks:
            return ()
        return tuple(Trial(policy, policy.directory, nodes).findings())


def _read(reader: Reader, domains: Mapping[str, str]) -> AclPolicy:
    root = reader.document.root
    sections = reader.members(root, "the policy", SECTIONS)
    if root.data is None:
        reader.wrong(root.start, "the policy must be an object: { ... }")
    definitions = Definitions(reader, sections)
    directory = Directory(definitions.groups, definitions.prefixes, domains)
    rules, checks = RuleReader(reader, definitions), CheckReader(reader, definitions)
    rules.read_acls(_value(sections, "acls"))
    rules.read_grants(_value(sections, "grants"))
    checks.read(_value(sections, "tests"))
    approvers = tuple(_approvers(reader, definitions, directory, _value(sections, "autoApprovers")))
    attributes = tuple(_attributes(reader, definitions, directory, _value(sections, "nodeAttrs")))
    _note_others(reader, sections)
    if "acls" not in sections and "grants" not in sections:
        reader.warn(root.start, "the policy has neither `acls` nor `grants`: nothing is let in")
    parts = Parts(
        rules=tuple(rules.rules),
        matcher=Matcher(rules.aliases, directory),
        via=tuple(rules.via),
        approvers=approvers,
        owners={} if reader.errors else {tag: _matcher(owners, directory) for tag, owners in definitions.tags.items()},
        attributes=attributes,
        checks=tuple(checks.checks),
        directory=directory,
        warnings=reader.warnings,
    )
    return AclPolicy(parts)


def _approvers(
    reader: Reader, definitions: Definitions, directory: Directory, value: Value | None
) -> Iterator[Approvers]:
    sections = reader.members(value, "autoApprovers", ("routes", "exitNode", "services"))
    for text, member in reader.members(_value(sections, "routes"), "autoApprovers.routes").items():
        who = _matcher(definitions.owners(member.value, shown(text)), directory)
        prefix = names.parse_prefix(text.strip())
        if prefix is None:
            reader.wrong(member.start, f"{shown(text)} is no prefix")
        elif prefix.prefixlen == 0:
            reader.warn(member.start, "this approves nothing: who may be an exit node stands under `exitNode`")
        else:
            yield Approvers(prefix, who)
    yield Approvers(None, _matcher(definitions.owners(_value(sections, "exitNode"), "exitNode"), directory))


def _attributes(
    reader: Reader, definitions: Definitions, directory: Directory, value: Value | None
) -> Iterator[tuple[Matcher, Sequence[str]]]:
    for item in reader.items(value, "nodeAttrs"):
        fields = reader.members(item, "a node attribute", ("target", "attr", "app", "ipPool"))
        targets = definitions.aliases(_value(fields, "target"), "target")
        for alias, offset in targets:
            if alias.kind is Kind.AUTOGROUP and alias.text not in (names.MEMBER, names.TAGGED):
                reader.wrong(offset, f"{shown(alias.text)} can't have attributes")
        for name in ("app", "ipPool"):
            if name in fields:
                reader.warn(fields[name].start, f"`{name}` has no effect")
        attributes = tuple(text for text, _ in reader.texts(_value(fields, "attr"), "attr"))
        yield Matcher([alias for alias, _ in targets], directory), attributes


def _note_others(reader: Reader, sections: dict[str, Member]) -> None:
    for name, member in sections.items():
        if not member.value.data:
            continue
        if name in WITHOUT_EFFECT:
            reader.warn(member.start, f"`{name}`: {WITHOUT_EFFECT[name]}")
        elif name in REFUSED:
            reader.wrong(member.start, f"`{name}`: {REFUSED[name]}")


def _matcher(texts: Sequence[str], directory: Directory) -> Matcher:
    aliases: list[Alias] = [parse_alias(text) for text in texts]
    return Matcher(aliases, directory)


def _value(sections: dict[str, Member], name: str) -> Value | None:
    member = sections.get(name)
    return member.value if member else None
