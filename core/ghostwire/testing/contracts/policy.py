"""What every policy engine must do: the same labels and rules for the same policy, and an error for a wrong one."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from ghostwire.capabilities.policy import CompiledPolicy, PolicyEngine
from ghostwire.errors import ConfigError
from ghostwire.model import Node, Rule, User
from ghostwire.testing.contracts.base import Contract, refused, rule
from ghostwire.testing.contracts.samples import node, user

NONSENSE = ("\0", "{", "]" * 1000, "[" * 100_000, "\ud800", "x" * 1_000_000, "'" * 999, "\n" * 10_000 + "{")
NODES = 20
LARGEST_ID = 2**31 - 1
TIME = 5.0
"""Seconds that any call may take; ``labels`` is called for each node of the mesh."""


class PolicyContract(Contract):
    """Subclass it as ``Test...``, implement `make`, and give ``good`` (two or more policies) and ``wrong``."""

    good: Sequence[str] = ("",)
    """Policies that compile, as different from each other as can be."""
    wrong = ""
    """A policy with a mistake; the rule about it is skipped where it is empty."""

    async def make(self) -> PolicyEngine:
        """The engine, which has compiled nothing yet."""
        raise NotImplementedError

    def all_labels(self, engine: PolicyEngine) -> list[tuple[int, ...]]:
        """The labels of a few nodes of two users."""
        people = [(node(number, owner=1 + number % 2), user(1 + number % 2)) for number in range(1, NODES)]
        return [self.labels(engine, *each) for each in people]

    def labels(self, engine: PolicyEngine, node: Node, owner: User) -> tuple[int, ...]:
        """A node's labels, checked."""
        found = tuple(engine.labels(node, owner))
        assert len(set(found)) == len(found), f"a node has a label twice: {found}"
        for id_ in found:
            self.is_id(id_, "labels()")
        return found

    def is_id(self, id_: object, where: str) -> None:
        """A small integer."""
        right = type(id_) is int and 0 <= id_ <= LARGEST_ID
        assert right, f"{where}: a label's id is a whole number from 0 to {LARGEST_ID}, not {id_!r}"

    def check(self, compiled: CompiledPolicy) -> None:
        """Rules that a node's filter can use."""
        assert isinstance(compiled, CompiledPolicy), f"compile() gave a {type(compiled).__name__}, no CompiledPolicy"
        ids = [each.id for each in compiled.rules]
        assert len(set(ids)) == len(ids), f"rules share an id: {sorted(ids)}"
        for each in compiled.rules:
            self.check_rule(each)
        for id_ in compiled.everyone:
            self.is_id(id_, "everyone")

    def check_rule(self, each: Rule) -> None:
        """One of them."""
        assert each.id > 0, f"a rule's id is positive, not {each.id}"
        for id_ in (*each.sources, *each.destinations):
            self.is_id(id_, f"rule {each.id}")
        assert all(0 <= number <= 255 for number in each.protocols), f"rule {each.id}: protocols are 0 to 255"
        for first, last in each.ports:
            assert 0 <= first <= last <= 65_535, f"rule {each.id}: ports {first} to {last} are no range of ports"

    def refuses_or_compiles(self, engine: PolicyEngine, source: str) -> None:
        """Either is right for nonsense; any other error is not."""
        try:
            compiled = engine.compile(source)
        except ConfigError as error:
            text = str(error)
        except Exception as error:
            raise AssertionError(f"compile({source[:10]!r}...) raised {error!r} instead of ConfigError") from error
        else:
            return self.check(compiled)
        assert len(text.splitlines()) == 1, f"the error must be one line, not {text!r}"
        return None

    @rule
    async def test_it_has_a_name(self) -> None:
        """The configuration says it."""
        engine = await self.make()
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", engine.name), f"{engine.name!r} is not a provider's name"

    @rule
    async def test_a_policy_becomes_rules_between_labels(self) -> None:
        """With ids, protocols and ports that a node's filter can use."""
        engine = await self.make()
        for source in self.good:
            self.check(engine.compile(source))

    @rule
    async def test_labels_are_small_numbers_and_everyone_has_those_that_stand_for_all(self) -> None:
        """``everyone`` are the ids of ``*``: every node carries them."""
        engine = await self.make()
        for source in self.good:
            everyone = engine.compile(source).everyone
            for held in self.all_labels(engine):
                assert everyone <= set(held), f"a node lacks {sorted(everyone - set(held))}, which stand for every node"

    @rule
    async def test_the_same_policy_gives_the_same_answer(self) -> None:
        """Else a restart would tell every node new rules."""
        engine, other = await self.make(), await self.make()
        for source in self.good:
            assert engine.compile(source) == engine.compile(source), "the same policy has other rules the second time"
            assert self.all_labels(engine) == self.all_labels(engine), "the same node has other labels when asked again"
        engine = await self.make()
        assert engine.compile(self.good[0]) == other.compile(self.good[0]), "another engine makes other rules of it"
        assert self.all_labels(engine) == self.all_labels(other), "another engine gives other labels"

    @rule
    async def test_a_label_keeps_its_id_through_other_policies(self) -> None:
        """Ids are append-only and never reused: nodes hold sets by them."""
        engine = await self.make()
        first = [(engine.compile(source), self.all_labels(engine)) for source in self.good]
        for source, (compiled, labels) in zip(self.good, first, strict=True):
            again = engine.compile(source)
            now = self.all_labels(engine)
            assert now == labels, "a label has another id after other policies were compiled"
            assert again == compiled, "the same policy has other rules after other policies were compiled"

    @rule
    async def test_a_wrong_policy_is_an_error_with_its_line_and_the_last_one_stays(self) -> None:
        """The operator reads the error; the mesh goes on."""
        if not self.wrong:
            import pytest

            pytest.skip("wrong is not given: which policy has a mistake?")
        engine = await self.make()
        engine.compile(self.good[0])
        before = self.all_labels(engine)
        with refused(ConfigError, "a wrong policy") as caught:
            engine.compile(self.wrong)
        assert caught[0].line > 0, f"the error names no line: {caught[0]}"
        assert self.all_labels(engine) == before, "a policy that was refused changed the labels of nodes"

    @rule
    async def test_nonsense_is_refused_with_one_line_and_in_time(self) -> None:
        """Whatever is pasted into the editor."""
        engine = await self.make()
        for source in NONSENSE:
            began = time.monotonic()
            self.refuses_or_compiles(engine, source)
            took = time.monotonic() - began
            assert took < TIME, f"compile({source[:10]!r}...) took {took:.1f} s"
