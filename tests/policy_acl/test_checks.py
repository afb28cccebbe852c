"""A policy's own tests: what they may ask, and what is told of those that fail."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Bearer
from ghostwire.errors import Finding
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings

Compile = Callable[..., AclPolicy]
Run = Callable[..., Sequence[Finding]]


@pytest.fixture
def mesh(bearer: Callable[..., Bearer]) -> Sequence[Bearer]:
    return (
        bearer("100.64.0.1 fd00::1", "alice"),
        bearer("100.64.0.2 fd00::2", "alice"),
        bearer("100.64.0.3 fd00::3", "bob"),
        bearer("100.64.0.4 fd00::4", "bob", "tag:web"),
        bearer("100.64.0.5 fd00::5", "bob", "tag:router", routes=["10.1.0.0/16"]),
    )


@pytest.fixture
def run(compile_policy: Compile, mesh: Sequence[Bearer]) -> Run:
    """``run(rule, **test)`` gives what fails of one test."""

    def run(rule: dict[str, Any], **test: Any) -> Sequence[Finding]:
        policy = {
            "groups": {"group:dev": ["alice@", "bob@"], "group:none": []},
            "tagOwners": {"tag:web": [], "tag:router": [], "tag:nobody": []},
            "hosts": {"web": "100.64.0.4", "lan": "10.1.0.0/16", "printer": "10.1.0.9", "gone": "100.64.9.9"},
            "acls": [{"action": "accept", **rule}] if rule else [],
            "tests": [test],
        }
        return AclEngine(Settings()).test(compile_policy(policy), (), mesh)

    return run


OWN = {"src": ["*"], "dst": ["autogroup:self:22"]}
WEB = {"src": ["group:dev"], "dst": ["tag:web:443"]}


@pytest.mark.parametrize(
    ("rule", "test"),
    [
        (WEB, {"src": "group:dev", "accept": ["tag:web:443", "web:443", "100.64.0.4:443"], "deny": ["tag:web:80"]}),
        (WEB, {"src": "alice@", "proto": "tcp", "accept": ["[fd00::4]:443"], "deny": ["bob@:443", "tag:router:443"]}),
        (WEB, {"src": "100.64.0.1", "accept": ["web:443"]}),
        (WEB, {"src": "tag:router", "deny": ["web:443"]}),
        (WEB, {"src": "100.64.9.9", "deny": ["web:443"]}),
        ({**WEB, "proto": "tcp"}, {"src": "alice@", "proto": "udp", "deny": ["web:443"]}),
        ({"src": ["alice@"], "dst": ["lan:22"]}, {"src": "alice@", "accept": ["printer:22"], "deny": ["printer:23"]}),
        ({"src": ["alice@"], "dst": ["gone:22"]}, {"src": "alice@", "accept": ["gone:22"]}),
        ({"src": ["*"], "dst": ["*:*"]}, {"src": "10.1.0.7", "accept": ["web:443", "8.8.8.8:53"]}),
        ({"src": ["*"], "dst": ["*:*"]}, {"src": "10.2.0.7", "deny": ["web:443"]}),
        ({"src": ["10.1.0.0/16"], "dst": ["tag:web:80"]}, {"src": "printer", "accept": ["web:80"]}),
        ({"src": ["lan"], "dst": ["tag:web:80"]}, {"src": "tag:router", "deny": ["web:80"]}),
        (OWN, {"src": "alice@", "accept": ["100.64.0.2:22"], "deny": ["bob@:22"]}),
        (OWN, {"src": "tag:web", "deny": ["tag:web:22"]}),
    ],
)  # fmt: skip
def test_what_holds_is_not_mentioned(rule: dict[str, Any], test: dict[str, Any], run: Run) -> None:
    assert run(rule, **test) == ()


@pytest.mark.parametrize(
    ("rule", "test", "message"),
    [
        (WEB, {"src": "alice@", "accept": ["tag:web:80"]}, "`tag:web:80` is not reached from `alice@`"),
        (WEB, {"src": "bob@", "deny": ["web:443"]}, "`web:443` is reached from `bob@`"),
        ({}, {"src": "alice@", "accept": ["web:443"]}, "`web:443` is not reached from `alice@`"),
        (WEB, {"src": "group:none", "accept": ["web:443"]}, "`group:none` has no node"),
        (WEB, {"src": "nobody@example.com", "deny": ["web:443"]}, "`nobody@example.com` has no node"),
        (WEB, {"src": "alice@", "deny": ["tag:nobody:443"]}, "`tag:nobody:443` has no node"),
        ({**WEB, "proto": "tcp"}, {"src": "alice@", "proto": "17", "accept": ["web:443"]}, "is not reached"),
        ({**WEB, "src": ["alice@"]}, {"src": "group:dev", "accept": ["web:443"]}, "is not reached from `group:dev`"),
        ({**WEB, "src": ["alice@"]}, {"src": "group:dev", "deny": ["web:443"]}, "is reached from `group:dev`"),
    ],
)
def test_what_does_not_hold_is_told(rule: dict[str, Any], test: dict[str, Any], message: str, run: Run) -> None:
    (finding,) = run(rule, **test)
    assert finding.message.startswith("test failed: ")
    assert message in finding.message
    assert finding.line == 1
    assert finding.column > 1


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ({"accept": ["web:443"]}, "a test needs `src`"),
        ({"src": "", "accept": ["web:443"]}, "src is empty"),
        ({"src": "*"}, "a test needs `accept` or `deny`"),
        ({"src": "*", "accept": ["web:80,443"]}, "a test is of one port"),
        ({"src": "*", "accept": ["web:80-90"]}, "a test is of one port"),
        ({"src": "*", "deny": ["web:*"]}, "a test is of one port"),
        ({"src": "*", "deny": ["10.0.0.0/8:22"]}, "is more than one host"),
        ({"src": "*", "deny": ["lan:22"]}, "is more than one host"),
        ({"src": "*", "deny": ["autogroup:internet:80"]}, "can't be tested"),
        ({"src": "*", "accept": ["autogroup:self:80"]}, "can't be tested"),
        ({"src": "*", "accept": ["web:80"], "proto": "icmp"}, "tests are of tcp, udp or sctp"),
        ({"src": "*", "accept": ["web:http"]}, "are no ports"),
        ({"src": "autogroup:internet", "accept": ["web:80"]}, "can't be the source of a test"),
        ({"src": "group:x", "accept": ["web:80"]}, "unknown group `group:x`"),
        ({"src": "*", "accept": ["tag:x:80"]}, "unknown tag `tag:x`"),
        ({"src": "*", "accept": ["web:80"], "user": "x"}, "unknown key in a test: `user`"),
        ({"src": "*", "accept": ["web:80"], "srcPostureAttrs": {"a": 1}}, "device postures are not known here"),
    ],
)
def test_a_test_that_makes_no_sense_is_refused(
    test: dict[str, Any], reason: str, refuse: Callable[[Any], Sequence[Finding]]
) -> None:
    findings = refuse({"acls": [], "hosts": {"web": "100.64.0.4", "lan": "10.1.0.0/16"}, "tests": [test]})
    assert any(reason in finding.message for finding in findings), findings


def test_a_policy_without_tests_has_none_that_fail(compile_policy: Compile, mesh: Sequence[Bearer]) -> None:
    assert AclEngine(Settings()).test(compile_policy({"acls": []}), (), mesh) == ()
