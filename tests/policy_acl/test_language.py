"""What a policy's text may say, and what is told of one that is wrong: all, with places and with what was meant."""

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire import Bearer
from ghostwire.errors import Finding, PolicyError
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Compile = Callable[..., AclPolicy]
Refuse = Callable[[Any], Sequence[Finding]]
Make = Callable[..., Bearer]

EXAMPLE = (Path(__file__).parents[1] / "data" / "example.hujson").read_text()
"""The policy of the design, word for word."""


def test_the_designs_example_works_verbatim(compile_policy: Compile, bearer: Make) -> None:
    policy = compile_policy(EXAMPLE)
    assert [(rule.sources, rule.destinations, rule.ports, rule.line) for rule in policy.rules] == [
        (("group:admin",), ("*",), (), 19),
        (("group:developers",), ("tag:development",), (), 26),
        (("*",), ("*",), ((80, 80),), 33),
        (("*",), ("*",), ((443, 443),), 33),
    ]
    assert policy.selectors(bearer(user="x", email="carol.dev@company.com")) == ("*", "group:developers")
    assert policy.selectors(bearer(user="x", email="carol@company.com")) == ("*",)
    assert policy.selectors(bearer("100.64.0.9", "x", "tag:development")) == ("*", "tag:development")
    assert not policy.warnings


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_text(refuse: Refuse) -> None:
    findings = refuse(
        """{
  "groups": {"group:dev": ["alice@company.com", "bob"]},
  "acls": [
    {"action": "deny", "src": ["group:devs"], "dst": ["tag:web:http", "*"]},
    {"action": "accept", "scr": ["*"], "dst": ["autogroup:members2:22"]},
  ],
  "acl": [],
}"""
    )
    assert [str(finding) for finding in findings] == [
        "2:49: `bob` is no user: write NAME@DOMAIN, or `bob@` for a name without domain",
        '4:16: the only action is "accept": what no rule accepts is dropped',
        "4:32: unknown group `group:devs`; did you mean `group:dev`?",
        "4:55: `http` are no ports: write `*`, or numbers up to 65535 and ranges, as in `22,80-443`",
        "4:71: `*` has no ports: write NAME:PORTS, as in `tag:web:80,443` or `*:*`",
        "5:26: unknown key in an access rule: `scr`; did you mean `src`?",
        "5:48: unknown autogroup `autogroup:members2`; did you mean `autogroup:member`?",
        "7:3: unknown key in the policy: `acl`; did you mean `acls`?",
    ]


def test_a_name_that_is_itself_wrong_is_no_word_for_what_was_meant(refuse: Refuse) -> None:
    findings = refuse(
        {
            "groups": {"devs": ["x@y.z"], "group:dev": ["alice@company.com"]},
            "acls": [{"action": "accept", "src": ["group:devs"], "dst": ["*:*"]}],
        }
    )
    messages = [finding.message for finding in findings]
    assert messages == ["`devs` is no group: write group:NAME", "unknown group `group:devs`; did you mean `group:dev`?"]


def acl(**fields: Any) -> dict[str, Any]:
    rule = {"action": "accept", "src": ["*"], "dst": ["*:*"], **fields}
    return {"acls": [{key: value for key, value in rule.items() if value is not None}]}


def grant(**fields: Any) -> dict[str, Any]:
    return {"tagOwners": {"tag:a": []}, "grants": [{"src": ["*"], "dst": ["*"], **fields}]}


WRONG = {
    "a list": ([], "the policy must be an object"),
    "null": (None, "the policy must be an object"),
    "a text for a list": (acl(src="*"), "src must be an array"),
    "a number for a name": (acl(src=[1]), "each item of src must be a text"),
    "an empty name": (acl(src=[" "]), "is empty"),
    "no action": (acl(action=None), 'needs "action": "accept"'),
    "an unknown host": (acl(src=["web"]), "unknown host `web`"),
    "an unknown tag": (acl(dst=["tag:x:22"]), "unknown tag `tag:x`; tags must be in tagOwners"),
    "an unknown set": (acl(dst=["ipset:x:22"]), "unknown IP set `ipset:x`"),
    "a role": (acl(src=["autogroup:admin"]), "users have no such roles"),
    "self as a source": (acl(src=["autogroup:self"]), "can only be a destination"),
    "the internet as a source": (acl(src=["autogroup:internet"]), "can only be a destination"),
    "everything as a destination": (acl(dst=["autogroup:danger-all:22"]), "can only be a source"),
    "a port too many": (acl(dst=["*:65536"]), "are no ports"),
    "port zero": (acl(dst=["*:0"]), "ports begin with 1"),
    "a range backwards": (acl(dst=["*:9-8"]), "ends before it begins"),
    "a half range": (acl(dst=["*:9-"]), "are no ports"),
    "a space between ports": (acl(dst=["*:80, 443"]), "are no ports"),
    "no ports": (acl(dst=["10.0.0.0/8"]), "has no ports"),
    "brackets around a name": (acl(dst=["[web]:22"]), "brackets stand around an IPv6 address"),
    "an unknown protocol": (acl(proto="quic"), "`quic` is no protocol"),
    "a protocol with a zero before it": (acl(proto="06"), "`06` is no protocol"),
    "any protocol by star": (acl(proto="*"), "`*` is no protocol"),
    "ports of icmp": (acl(proto="icmp", dst=["*:80"]), "has no ports (tcp, udp and sctp have)"),
    "ports of a numbered protocol": (acl(proto=47, dst=["*:80"]), "has no ports (tcp, udp and sctp have)"),
    "self for tags": (acl(src=["autogroup:tagged"], dst=["autogroup:self:*"]), "only users have nodes of their own"),
    "self for an address": (acl(src=["10.0.0.1"], dst=["autogroup:self:*"]), "only users have nodes of their own"),
    "postures": ({"postures": {"posture:a": []}}, "device postures are not known here"),
    "a posture": (acl(srcPosture=["posture:a"]), "device postures are not known here"),
    "SSH tests": ({"sshTests": [{}]}, "there are no SSH rules here"),
    "a grant of nothing": (grant(), "a grant needs `ip`"),
    "a grant of the field's own": (grant(app={"tailscale.com/cap/funnel": []}), "not for policies to grant"),
    "a capability by URL": (grant(app={"https://example.com/x": []}), "is no capability"),
    "a capability without a path": (grant(app={"x": []}), "is no capability"),
    "a default route": (grant(dst=["0.0.0.0/0"], ip=["*"]), "for all addresses write `*`"),
    "an app on the internet": (grant(dst=["autogroup:internet"], app={"a.b/c": []}), "can't be granted"),
    "a service without ports": (grant(ip=["tcp"]), "are no ports"),
    "a service of two colons": (grant(ip=["tcp:80:90"]), "more than one colon"),
    "self by star": (grant(dst=["autogroup:self"], ip=["*"]), "only users have nodes of their own"),
    "via a user": (grant(ip=["*"], via=["a@b.c"]), "names routers by tags only"),
    "via an unknown tag": (grant(ip=["*"], via=["tag:b"]), "unknown tag `tag:b`"),
    "a group in a group": ({"groups": {"group:a": ["group:b"]}}, "groups hold users only"),
    "a group without its head": ({"groups": {"a": []}}, "`a` is no group"),
    "a member that is no user": ({"groups": {"group:a": ["*@*.com"]}}, "is no user"),
    "a tag with a digit first": ({"tagOwners": {"tag:1": []}}, "`tag:1` is no tag"),
    "an address that owns": ({"tagOwners": {"tag:a": ["10.0.0.1"]}}, "can own nothing"),
    "a host that is a name": ({"hosts": {"a": "b"}}, "`b` is no address and no prefix"),
    "a host with the name of an address": ({"hosts": {"10.0.0.1": "10.0.0.1"}}, "means nothing here"),
    "a route that is none": ({"autoApprovers": {"routes": {"x": []}}}, "`x` is no prefix"),
    "an approver that is none": ({"autoApprovers": {"exitNode": ["group:x"]}}, "unknown group `group:x`"),
    "attributes of self": ({"nodeAttrs": [{"target": ["autogroup:self"]}]}, "can't have attributes"),
    "a set of unknown hosts": ({"ipsets": {"ipset:a": ["host:b"]}}, "unknown host `b`"),
    "a set of too many": ({"ipsets": {"ipset:a": [f"10.0.{n // 250}.{n % 250}" for n in range(1001)]}}, "at most 1000"),
    "a set in too many pieces": (
        {"ipsets": {"ipset:a": ["0.0.0.0/0", *(f"remove 10.{n}.7.7" for n in range(250))]}},
        "at most 1000",
    ),
    "a key twice": ('{"acls": [], "acls": []}', "the key `acls` is there twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_with_its_reason(name: str, refuse: Refuse) -> None:
    policy, reason = WRONG[name]
    findings = refuse(policy if isinstance(policy, str) else json.dumps(policy))
    assert any(reason in finding.message for finding in findings), findings


WITHOUT_EFFECT = {
    "ssh": {"ssh": [{"action": "accept", "src": ["*"], "dst": ["*"], "users": ["root"]}]},
    "randomizeClientPort": {"randomizeClientPort": True},
    "derpMap": {"derpMap": {"Regions": {}}},
    "app": grant(app={"example.com/cap": [{}]}),
    "via": grant(ip=["*"], via=["tag:a"]),
    "acls": {},
    "exitNode": {"autoApprovers": {"routes": {"0.0.0.0/0": []}}},
    "lets in nobody": acl(src=[]),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_means_nothing_here_is_accepted_with_a_word(name: str, compile_policy: Compile) -> None:
    warnings = compile_policy(WITHOUT_EFFECT[name]).warnings
    assert any(name in warning.message and warning.line for warning in warnings), warnings


@pytest.mark.parametrize("key", ["ssh", "sshTests", "postures", "derpMap", "groups", "hosts", "tests", "nodeAttrs"])
def test_an_empty_section_is_no_reason_for_words(key: str, compile_policy: Compile) -> None:
    for empty in (None, []) if key in ("ssh", "sshTests", "tests", "nodeAttrs") else (None, {}):
        assert not compile_policy({"acls": [], key: empty}).warnings


PORTS = {
    "*": (),
    "22": ((22, 22),),
    "22,80-443,65535": ((22, 22), (80, 443), (65_535, 65_535)),
    "0-65535": ((0, 65_535),),
}


@pytest.mark.parametrize("ports", PORTS)
@pytest.mark.parametrize("name", ["*", "a@b.c", "10.0.0.1", "10.0.0.0/8", "fd00::1", "[fd00::1]", "[fd00::]/64"])
def test_destinations_have_names_and_ports(name: str, ports: str, compile_policy: Compile) -> None:
    (rule,) = compile_policy(acl(dst=[f"{name}:{ports}"])).rules
    assert rule.ports == PORTS[ports]
    assert rule.protocols == (1, 6, 17, 58)


@pytest.mark.parametrize(
    ("proto", "number"),
    [
        ("tcp", 6),
        ("UDP", 17),
        ("6", 6),
        (17, 17),
        ("icmp", 1),
        ("ipv6-icmp", 58),
        ("gre", 47),
        ("sctp", 132),
        (255, 255),
    ],
)
def test_protocols_have_names_and_numbers(proto: str | int, number: int, compile_policy: Compile) -> None:
    (rule,) = compile_policy(acl(proto=proto)).rules
    assert rule.protocols == (number,)


def test_rules_of_old_policies_have_other_keys_and_comments(compile_policy: Compile) -> None:
    (rule,) = compile_policy(
        {"acls": [{"#ha-meta": "x", "action": "accept", "users": ["a@b.c"], "ports": ["autogroup:members:22"]}]}
    ).rules
    assert (rule.sources, rule.destinations) == (("a@b.c",), ("autogroup:member",))


def test_space_around_names_does_not_count(compile_policy: Compile) -> None:
    (rule,) = compile_policy(acl(src=[" a@b.c "])).rules
    assert rule.sources == ("a@b.c",)


def test_many_errors_are_told_up_to_a_bound(refuse: Refuse) -> None:
    findings = refuse(acl(src=["group:x"] * 5000))
    assert len(findings) == 1001
    assert findings[-1].message == "there are 4000 more"


def test_hostile_words_are_shown_in_one_short_line(refuse: Refuse) -> None:
    for finding in refuse(acl(src=["\x1b[31m" + "x" * 10_000 + "\n", "group:" + "\u202e" * 200, "tag:\x00"])):
        assert finding.message.isprintable()
        assert len(finding.message) < 400


words = st.sampled_from(
    ["*", "a@b.c", "*@b.c", "group:g", "tag:t", "autogroup:self", "autogroup:internet", "h", "10.0.0.0/8", "::1", "x:y"]
)
junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | words | words.map(lambda word: f"{word}:22") | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["acls", "grants", "src", "dst", "ip", "via", "app", "group:g", "tests", "routes", "accept"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SECTIONS = ("groups", "tagOwners", "hosts", "ipsets", "acls", "grants", "tests", "autoApprovers", "nodeAttrs", "ssh")


def compiled_or_none(compile_policy: Compile, policy: Any) -> AclPolicy | None:
    """None where it is refused, which must say where and why."""
    try:
        return compile_policy(policy)
    except PolicyError as error:
        mute = [each for each in error.findings if not (each.line and each.message.isprintable())]
        if mute:
            raise AssertionError(mute) from error
        return None


@patient
@given(st.dictionaries(st.sampled_from(SECTIONS), junk))
def test_whatever_stands_in_a_section_is_read_or_refused(compile_policy: Compile, bearer: Make, policy: Any) -> None:
    compiled = compiled_or_none(compile_policy, policy)
    if compiled is not None:
        compiled.selectors(bearer("10.0.0.1", "a", "tag:t", routes=["10.0.0.0/8"]))


@patient
@given(st.text())
def test_any_text_is_read_or_refused(compile_policy: Compile, text: str) -> None:
    compiled_or_none(compile_policy, text)


def test_a_large_policy_is_compiled_in_well_under_a_second() -> None:
    chance = random.Random(7)
    policy = {
        "groups": {f"group:g{n}": [f"u{chance.randrange(500)}@example.com" for _ in range(10)] for n in range(200)},
        "tagOwners": {f"tag:t{n}": ["group:g1"] for n in range(80)},
        "hosts": {f"h{n}": f"10.{n % 250}.{n // 250}.0/24" for n in range(300)},
        "acls": [
            {
                "action": "accept",
                "src": [f"group:g{chance.randrange(200)}", f"tag:t{chance.randrange(80)}"],
                "dst": [f"tag:t{chance.randrange(80)}:{n + 1}", f"h{chance.randrange(300)}:80,443,8000-9000"],
            }
            for n in range(2000)
        ],
    }
    text, engine = json.dumps(policy, indent=2), AclEngine(Settings())
    began = time.process_time()
    compiled = engine.compile(text)
    assert time.process_time() - began < 1.5, "it takes 0.2 s on an idle machine"
    assert len(compiled.rules) == 4000
