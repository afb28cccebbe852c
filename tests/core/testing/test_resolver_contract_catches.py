"""The resolver's contract passes a right resolver, and fails for those that break one of its rules."""

import asyncio
from typing import Any

import pytest

from ghostwire import Resolver
from ghostwire.testing import simulate
from ghostwire.testing.contracts import ResolverContract
from ghostwire.testing.contracts.resolver import question

from .catching import failure

OWN = "laptop.mesh.local"
ADDRESS = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x64\x40\0\2"


class OneName(Resolver):
    """A right one, which knows one name."""

    name = "one"

    async def resolve(self, query: bytes) -> bytes | None:
        await asyncio.sleep(0.01)
        if query[4:].lower() != question(0, OWN)[4:].lower():
            return None
        return query[:2] + b"\x84\0" + query[4:6] + b"\0\1\0\0\0\0" + query[12:] + ADDRESS


class Rules(ResolverContract):
    run = staticmethod(simulate)
    kind: type[OneName] = OneName
    mine = OWN

    async def make(self) -> Resolver:
        return self.kind()


class _Nameless(OneName):
    name = "No Name"


class _ForgetsTheId(OneName):
    async def resolve(self, query: bytes) -> bytes | None:
        answer = await super().resolve(query)
        return answer and b"\0\0" + answer[2:]


class _MindsTheCase(OneName):
    async def resolve(self, query: bytes) -> bytes | None:
        return await super().resolve(query) if query[4:] == question(0, OWN)[4:] else None


class _AnswersAll(OneName):
    async def resolve(self, query: bytes) -> bytes | None:
        return await super().resolve(query) or query[:2] + b"\x80\3" + query[4:]


class _MixesUp(OneName):
    last = b""

    async def resolve(self, query: bytes) -> bytes | None:
        self.last = query
        await asyncio.sleep(0.01)
        return await super().resolve(self.last)


class _GoesOn(OneName):
    async def resolve(self, query: bytes) -> bytes | None:
        return await asyncio.shield(asyncio.ensure_future(self.slowly(query)))

    async def slowly(self, query: bytes) -> bytes | None:
        await asyncio.sleep(1)
        return await super().resolve(query)


class _Trusts(OneName):
    async def resolve(self, query: bytes) -> bytes | None:
        return await super().resolve(query) if query[12] and query[5] else None


BREAKERS = [
    (_Nameless, "it_has_a_name"),
    (_ForgetsTheId, "its_own_name_is_answered_with_the_id_and_question_of_the_query"),
    (_MindsTheCase, "names_are_the_same_in_any_case"),
    (_AnswersAll, "a_foreign_name_is_left_to_the_next"),
    (_MixesUp, "many_questions_at_once_get_an_answer_each"),
    (_GoesOn, "a_question_that_is_given_up_leaves_nothing_behind"),
    (_Trusts, "no_bytes_whatever_make_it_raise"),
]


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_one_is_caught(kind: type[Any], rule_name: str) -> None:
    assert failure(Rules, kind, rule_name)


@pytest.mark.parametrize("rule_name", Rules.rules())
def test_a_right_one_is_not(rule_name: str) -> None:
    assert failure(Rules, Rules.kind, rule_name) == ""


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name in BREAKERS} == set(Rules.rules())
