"""Feed the policy language whatever atheris finds: python tests/fuzz/fuzz_policy.py [-runs=N]."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import atheris

with atheris.instrument_imports(include=["ghostwire_policy_acl"]):
    from ghostwire.errors import Finding, PolicyError, UsageError
    from ghostwire_policy_acl.hujson import parse
    from ghostwire_policy_acl.offline import compile_for

WORDS = [
    *("*", "a@", "*@x.com", "*a*a@x.com", "group:g", "group:", "tag:t", "tag:", "h", "ipset:s", "add ", "remove "),
    *("autogroup:self", "autogroup:internet", "autogroup:member", "autogroup:tagged", "autogroup:danger-all"),
    *(
        "100.64.0.2",
        "10.0.0.0/8",
        "::/0",
        "fd00::1",
        "[fd00::1]",
        "0.0.0.0/0",
        "::ffff:10.0.0.1",
        "1.2.3.4/33",
        "%eth0",
    ),
    *("tcp", "accept", "x.com/cap", "\u0660", "\ud7ff", "\x00", "\\n", "\\ud800", "/", ",", ":", "22"),
]
PORTS = ["", "", "", ":22", ":*", ":1-65535", ":0", ":22,80-90", ":99999", ":\u0661"]
SCALARS = ["null", "true", "1e400", "-0", "9" * 300, "/* */ 6", "//\n 6", "6", "1.5", "-", "\x00"]
SECTIONS = [
    "groups",
    "hosts",
    "ipsets",
    "tagOwners",
    "acls",
    "grants",
    "autoApprovers",
    "nodeAttrs",
    "tests",
    "ssh",
    "q",
]
KEYS = [
    *("action", "src", "dst", "proto", "ip", "app", "via", "accept", "deny", "target", "attr", "routes", "exitNode"),
    *("group:g", "tag:t", "h", "ipset:s", "10.0.0.0/8", "0.0.0.0/0", "::/0", "users", "ports", "srcPosture", "#note"),
]
NAMES = """"groups": {"group:g": ["a@", "*@x.com"]}, "tagOwners": {"tag:t": ["group:g", "tag:t"]},
"hosts": {"h": "10.1.0.0/16"}, "ipsets": {"ipset:s": ["10.0.0.0/8", "remove 10.1.0.0/16"]}"""
SECONDS = 5.0


def word(provider: atheris.FuzzedDataProvider) -> str:
    """A text that is nearly a name, or a destination."""
    if provider.ConsumeIntInRange(0, 3):
        return f'"{provider.PickValueInList(WORDS)}{provider.PickValueInList(PORTS)}"'
    return f'"{"".join(provider.PickValueInList(WORDS) for _ in range(provider.ConsumeIntInRange(0, 4)))}"'


def value(provider: atheris.FuzzedDataProvider, depth: int = 0) -> str:
    """Any value."""
    kind = provider.ConsumeIntInRange(0, 9)
    count = provider.ConsumeIntInRange(0, 4) if depth < 6 else 0
    if kind < 2:
        return members(provider, KEYS, depth + 1)
    if kind < 6:
        return f"[{', '.join(word(provider) for _ in range(count))}]"
    if kind == 6:
        return f"[{', '.join(value(provider, depth + 1) for _ in range(count))}]"
    return word(provider) if kind < 9 else provider.PickValueInList(SCALARS)


def members(provider: atheris.FuzzedDataProvider, keys: list[str], depth: int) -> str:
    """An object with some of these keys."""
    count = provider.ConsumeIntInRange(0, 5)
    found = (f'"{provider.PickValueInList(keys)}": {value(provider, depth)}' for _ in range(count))
    return f"{{{', '.join(found)}}}"


def rule(provider: atheris.FuzzedDataProvider) -> str:
    """An access rule, grant or test that is nearly one."""
    texts = {key: f"[{word(provider)}, {word(provider)}]" for key in ("src", "dst", "ip", "accept", "via")}
    picked = [provider.PickValueInList(list(texts)) for _ in range(3)]
    given = ", ".join(f'"{key}": {texts[key]}' for key in dict.fromkeys(picked))
    return f'{{"action": "accept", {given}}}'


def text(provider: atheris.FuzzedDataProvider) -> str:
    """A document that is nearly one of the language."""
    sections = [NAMES] if provider.ConsumeBool() else []
    for _ in range(provider.ConsumeIntInRange(0, 5)):
        section = provider.PickValueInList(SECTIONS)
        lists = section in ("acls", "grants", "tests") and provider.ConsumeIntInRange(0, 5)
        held = f"[{rule(provider)}, {rule(provider)}]" if lists else value(provider)
        sections.append(f'"{section}": {held}')
    return f"{{{', '.join(sections)}}}{provider.PickValueInList(['', '//', '/*', '}'])}"


def topology(provider: atheris.FuzzedDataProvider) -> dict[str, object]:
    """A mesh that is nearly one."""

    def some(*values: object) -> object:
        return provider.PickValueInList([*values, None, 1, [], {}, "x" * 9])

    def node() -> object:
        return {
            "ipv4": some("100.64.0.2", "", "1.2.3.4.5"),
            "ipv6": some("fd00::1", "", "fe80::1%x"),
            "user": some("a", "b"),
            "tags": some(["tag:t"], ["t", 1]),
            "routable_ips": some(["10.0.0.0/8", "::/0"], ["10.0.0.1/8"]),
            "approved_routes": some(["10.0.0.0/8", "::/0"], ["nonsense"]),
        }

    users = [{"name": some("a", ""), "email": some("a@x.com", "@", "a@"), "issuer": some("local")} for _ in range(2)]
    return {"users": some(users, []), "nodes": some({"n": node(), "m": node()}, {"n": some()})}


def refused(source: str, mesh: dict[str, object]) -> Sequence[Finding]:
    """What is wrong with a policy in a mesh."""
    try:
        parse(source).root.plain()
        compile_for(source, mesh)
    except PolicyError as error:
        return error.findings or [Finding(0, 0, "")]
    except UsageError:
        pass
    return ()


def one_input(data: bytes) -> None:
    """Nothing but a PolicyError or UsageError comes of any policy in any mesh, and soon."""
    began = time.process_time()
    provider = atheris.FuzzedDataProvider(data)
    source = text(provider) if provider.ConsumeBool() else provider.ConsumeUnicode(4096)
    findings = refused(source, topology(provider))
    assert all(0 < len(finding.message) < 1000 for finding in findings)
    assert time.process_time() - began < SECONDS


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
