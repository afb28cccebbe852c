"""What a policy that means harm may cost: bounded time and memory, and an error where it comes to too much."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ghostwire import Bearer, Person
from ghostwire.errors import PolicyError, UsageError
from ghostwire_policy_acl.command_explain import _topology
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.hujson import MAX_SIZE
from ghostwire_policy_acl.offline import compile_for
from ghostwire_policy_acl.people import People
from ghostwire_policy_acl.settings import Settings

PATIENCE = 40.0
"""Seconds of processor time, which is many times of what is needed."""


def messages(source: str) -> list[str]:
    began = time.process_time()
    with pytest.raises(PolicyError) as caught:
        AclEngine(Settings()).compile(source)
    assert time.process_time() - began < PATIENCE
    return [finding.message for finding in caught.value.findings]


def accept(src: list[str], dst: list[str]) -> dict[str, Any]:
    return {"action": "accept", "src": src, "dst": dst}


@pytest.mark.parametrize("mark", ["[", "{", '{"":', "[[],", "/*", "//\n", '"\\', "-", "1", "\\u", "/**/"])
def test_megabytes_of_the_same_mark_are_one_finding(mark: str) -> None:
    assert len(messages(mark * (MAX_SIZE // len(mark)))) == 1


def test_values_are_counted_while_they_are_read() -> None:
    assert messages('{"acls": [' + "0," * 600_000 + "]}") == ["there are more than 500000 values"]


def test_tens_of_thousands_of_findings_are_the_first_thousand_and_a_number() -> None:
    found = messages(json.dumps({"acls": [0] * 30_000}))
    assert len(found) == 1001
    assert found[-1] == "there are 29000 more"


@pytest.mark.parametrize(
    "policy",
    [
        {"acls": [accept([f"u{i}@" for i in range(20_000)], [f"*:{port}" for port in range(1, 20_000)])]},
        {
            "tagOwners": {f"tag:t{i}": [] for i in range(2000)},
            "grants": [
                {
                    "src": ["*"],
                    "dst": [f"10.{i >> 8}.{i & 255}.0/24" for i in range(2000)],
                    "ip": ["*"],
                    "via": [f"tag:t{i}" for i in range(2000)],
                }
            ],
        },
        {
            "ipsets": {f"ipset:{i}": [f"10.{i}.{j}.{j % 2}" for j in range(250)] for i in range(100)},
            "acls": [accept([f"ipset:{i}" for i in range(100)], [f"*:{port}"]) for port in range(1, 500)],
        },
        {
            "ipsets": {"ipset:all": [f"10.0.{i}.0" for i in range(250)]}
            | {f"ipset:{i}": ["ipset:all"] for i in range(9000)}
        },
    ],
    ids=["rules", "routers", "prefixes", "sets"],
)
def test_a_text_that_comes_to_far_more_than_it_says_is_refused(policy: dict[str, Any]) -> None:
    found = messages(json.dumps(policy))
    assert found == [found[0]]
    assert found[0].startswith("up to here, all rules and sets come to more than")


def test_groups_cost_their_members_once_however_many_tags_they_own() -> None:
    members = [f"u{i}@" for i in range(20_000)]
    owners = {f"tag:t{i}": ["group:g"] for i in range(20_000)}
    began = time.process_time()
    policy = AclEngine(Settings()).compile(json.dumps({"groups": {"group:g": members}, "tagOwners": owners}))
    assert time.process_time() - began < PATIENCE
    assert policy.may_tag(Person("u7"), "tag:t19999")
    assert not policy.may_tag(Person("x"), "tag:t19999")


def test_no_wildcard_is_catastrophic() -> None:
    word = "a*" * 49 + "@example.com"
    people = People([word], {})
    assert people.words(Person("", "local", "a" * 49 + "@example.com")) == (word,)
    assert people.words(Person("", "local", "a" * 5000 + "b@example.com")) == (word,)
    assert people.words(Person("", "local", "b" + "a" * 5000 + "@example.com")) == ()


@pytest.mark.parametrize(
    ("word", "fits", "fails"),
    [
        ("*@x.com", ["a", "a.b"], []),
        ("*.dev@x.com", ["a.dev", "a.dev.dev", ".dev"], ["dev", "a.devs"]),
        ("dev-*@x.com", ["dev-", "dev-a"], ["dev", "adev-"]),
        ("a*a@x.com", ["aa", "aba"], ["a", "ab"]),
        ("a*b*c@x.com", ["abc", "axbxc", "abbc"], ["acb", "ac", "abcd"]),
        ("ab*ba@x.com", ["abba"], ["aba"]),
        ("**a**@x.com", ["a", "bab"], ["b"]),
    ],
)
def test_a_wildcard_stands_for_any_part(word: str, fits: list[str], fails: list[str]) -> None:
    people = People([word], {})

    def matches(local: str) -> bool:
        return people.words(Person("", "local", f"{local}@x.com")) == (word,)

    assert [local for local in (*fits, *fails) if matches(local)] == fits


def test_ports_by_the_ten_thousand_are_one_rule() -> None:
    ports = [f"tcp:{port}" for port in range(1, 30_000)] * 2
    policy = AclEngine(Settings()).compile(json.dumps({"grants": [{"src": ["*"], "dst": ["*"], "ip": ports}]}))
    assert [len(rule.ports) for rule in policy.rules] == [29_999]


def test_nobody_is_matched_by_an_address_without_a_domain() -> None:
    policy = AclEngine(Settings()).compile(json.dumps({"acls": [accept(["*@x.com"], ["*:*"])]}))
    for email in ("", "@", "@x.com", "x.com", "a@x.com@evil.com"):
        assert "*@x.com" not in policy.selectors(Bearer(addresses=(), owner=Person("", "local", email)))


def test_tests_beyond_measure_are_not_tried() -> None:
    rules = [accept(["a@"], [f"*:{port}"]) for port in range(1, 4001)]
    check = {"src": "a@", "accept": ["100.64.0.2:22"] * 4000}
    engine = AclEngine(Settings())
    policy = engine.compile(json.dumps({"acls": rules, "tests": [check]}))
    [finding] = engine.test(policy, (), (Bearer(addresses=(), owner=Person("a")),))
    assert finding.message == "rules times destinations of tests are more than 10000000: none was tried; test less"


def test_wildcards_that_each_user_is_compared_with_are_bounded() -> None:
    members = [f"*{number}@x.com" for number in range(1500)]
    assert messages(json.dumps({"groups": {"group:g": members}})) == [
        "there are more than 1000 different words with a `*` for users"
    ]


@pytest.mark.parametrize("text", ["[" * 200_000, '{"nodes":' * 100_000, "\x00", "[]", "NaN", '"\\ud800"'], ids=range(6))
def test_a_mesh_that_is_described_by_nonsense_is_a_usage_error(text: str, tmp_path: Path) -> None:
    written = tmp_path / "mesh.json"
    written.write_text(text)
    with written.open("rb") as file, pytest.raises(UsageError):
        compile_for("{}", _topology(file))


@pytest.mark.parametrize(
    "nodes",
    [
        {"a": {"ipv4": "1.2.3"}},
        {"a": {"ipv6": "fd00::1%" + "x" * 99}, "b": {"ipv4": 5}},
        {"a": {"ipv4": "100.64.0.2", "approved_routes": ["10.0.0.1/8"]}},
        {"a": {"tags": "tag:a"}},
        {"a": None},
        [],
    ],
    ids=range(6),
)
def test_nodes_that_are_none_are_a_usage_error(nodes: Any) -> None:
    with pytest.raises(UsageError):
        compile_for("{}", {"nodes": nodes, "users": []})
