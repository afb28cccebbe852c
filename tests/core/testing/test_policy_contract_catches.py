"""The policy engine's contract passes a right engine, and fails for those that break one of its rules."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire import CompiledPolicy, PolicyEngine
from ghostwire.errors import ConfigError
from ghostwire.model import Node, Rule, User
from ghostwire.testing import simulate
from ghostwire.testing.contracts import PolicyContract


class Lines(PolicyEngine):
    """A right one: each line is ``USER -> USER``, ``*`` is everybody."""

    name = "lines"

    def __init__(self) -> None:
        self.ids: dict[str, int] = {"*": 0}
        self.known: set[str] = {"*"}

    def compile(self, source: str) -> CompiledPolicy:
        pairs = [self.parse(number, line) for number, line in enumerate(source.splitlines(), 1)]
        self.known = {"*", *(word for pair in pairs for word in pair)}
        rules = [self.rule(number, *pair) for number, pair in enumerate(pairs, 1)]
        return CompiledPolicy(tuple(rules), frozenset({0}))

    def parse(self, number: int, line: str) -> tuple[str, str]:
        words = line.split()
        if len(words) != 3 or words[1] != "->":
            raise ConfigError("expected USER -> USER", file="policy", line=number)
        return words[0], words[2]

    def rule(self, number: int, source: str, target: str) -> Rule:
        return Rule(id=number, sources=(self.id(source),), destinations=(self.id(target),))

    def id(self, word: str) -> int:
        return self.ids.setdefault(word, len(self.ids))

    def labels(self, node: Node, owner: User) -> Sequence[int]:
        return sorted(self.id(word) for word in ("*", owner.name) if word in self.known)


class Rules(PolicyContract):
    run = staticmethod(simulate)
    kind: type[Lines] = Lines
    good = ("user1 -> user2", "user2 -> *\nuser3 -> user1", "")
    wrong = "user1 -> user2\nuser1 user2"

    async def make(self) -> PolicyEngine:
        return self.kind()


class _Nameless(Lines):
    name = ""


class _HasRuleZero(Lines):
    def rule(self, number: int, source: str, target: str) -> Rule:
        return super().rule(number - 1, source, target)


class _ForgetsEveryone(Lines):
    def labels(self, node: Node, owner: User) -> Sequence[int]:
        return [id_ for id_ in super().labels(node, owner) if id_]


class _Throws(Lines):
    def id(self, word: str) -> int:
        return self.ids.setdefault(word, random.getrandbits(31))


class _Renumbers(Lines):
    last, next = "", 1

    def compile(self, source: str) -> CompiledPolicy:
        if source != self.last:
            self.last, self.ids = source, {"*": 0}
        return super().compile(source)

    def id(self, word: str) -> int:
        if word not in self.ids:
            self.ids[word], self.next = self.next, self.next + 1
        return self.ids[word]


class _Mutters(Lines):
    def parse(self, number: int, line: str) -> tuple[str, str]:
        try:
            return super().parse(number, line)
        except ConfigError:
            raise ConfigError("wrong") from None


class _Trips(Lines):
    def parse(self, number: int, line: str) -> tuple[str, str]:
        source, _, target = line.split()
        return source, target


BREAKERS = [
    (_Nameless, "it_has_a_name"),
    (_HasRuleZero, "a_policy_becomes_rules_between_labels"),
    (_ForgetsEveryone, "labels_are_small_numbers_and_everyone_has_those_that_stand_for_all"),
    (_Throws, "the_same_policy_gives_the_same_answer"),
    (_Renumbers, "a_label_keeps_its_id_through_other_policies"),
    (_Mutters, "a_wrong_policy_is_an_error_with_its_line_and_the_last_one_stays"),
    (_Trips, "nonsense_is_refused_with_one_line_and_in_time"),
]


def failure(kind: type[Any], rule_name: str) -> str:
    """Why one rule fails for this kind; empty where it does not."""
    contract = Rules()
    contract.kind = kind
    try:
        getattr(contract, f"test_{rule_name}")()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_one_is_caught(kind: type[Any], rule_name: str) -> None:
    assert failure(kind, rule_name)


@pytest.mark.parametrize("rule_name", Rules.rules())
def test_a_right_one_is_not(rule_name: str) -> None:
    assert failure(Rules.kind, rule_name) == ""


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name in BREAKERS} == set(Rules.rules())
