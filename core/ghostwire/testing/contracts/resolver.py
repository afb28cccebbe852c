"""What every resolver must do: answer what is its own, leave the rest to the next, and survive any bytes."""

from __future__ import annotations

import asyncio
import re
import struct

from ghostwire.capabilities.names import Resolver
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.contracts.base import Contract, leaves_nothing, rule

MANY = 100
LARGEST = 65_535
"""Bytes of a DNS message; its length is a 16-bit number over TCP."""
FOREIGN = "name.of.nobody.invalid"
"""A name of a domain that nobody may serve (RFC 6761)."""


def question(number: int, name: str, kind: int = 1) -> bytes:
    """A DNS query (RFC 1035): id, recursion desired, one question of class IN; kind 1 is A."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", kind, 1)


class ResolverContract(Contract):
    """Subclass it as ``Test...`` and implement `make`; give ``mine``, a name that it answers."""

    mine = ""
    """A name of which it answers an A query; rules that need one are skipped where it is empty."""

    async def make(self) -> Resolver:
        """The resolver."""
        raise NotImplementedError

    async def ask(self, resolver: Resolver, query: bytes) -> bytes | None:
        """Its answer, with patience."""
        answer = await self.within(resolver.resolve(query), f"an answer to {query[:20]!r}")
        assert answer is None or isinstance(answer, bytes), f"resolve() gave {type(answer).__name__}, not bytes or None"
        return answer

    def own(self) -> str:
        """``mine``; the rule is skipped where the author gave none."""
        if not self.mine:
            import pytest

            pytest.skip("mine is not given: which name does this resolver answer?")
        return self.mine

    def fits(self, query: bytes, answer: bytes | None) -> None:
        """The answer is a DNS message that answers this query."""
        assert answer is not None, "its own name was left to the next resolver (None)"
        assert 12 <= len(answer) <= LARGEST, f"an answer of {len(answer)} bytes is no DNS message"
        assert answer[:2] == query[:2], "the answer has another id than the query"
        assert answer[2] & 0x80, "the answer has not the QR bit: it is a query"
        assert answer[4:6] == b"\0\1", "the answer does not repeat the one question"
        assert answer[12 : len(query)].lower() == query[12:].lower(), "the answer repeats another question"

    @rule
    async def test_it_has_a_name(self) -> None:
        """Status and logs say it."""
        resolver = await self.make()
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", resolver.name), f"{resolver.name!r} is not a provider's name"

    @rule
    async def test_its_own_name_is_answered_with_the_id_and_question_of_the_query(self) -> None:
        """Whoever asks matches answers by them."""
        resolver = await self.make()
        for number in (0, 1, 0xFFFF):
            query = question(number, self.own())
            self.fits(query, await self.ask(resolver, query))

    @rule
    async def test_names_are_the_same_in_any_case(self) -> None:
        """RFC 4343; resolvers on the way mix the case on purpose."""
        resolver = await self.make()
        query = question(7, self.own().swapcase())
        self.fits(query, await self.ask(resolver, query))

    @rule
    async def test_a_foreign_name_is_left_to_the_next(self) -> None:
        """None: not mine. Override ``cannot`` for a resolver that is the last and answers everything."""
        answer = await self.ask(await self.make(), question(7, FOREIGN))
        assert answer is None, "a name of nobody was answered instead of left to the next resolver (None)"

    @rule
    async def test_many_questions_at_once_get_an_answer_each(self) -> None:
        """In whatever order."""
        resolver, name = await self.make(), self.own()
        queries = [question(number, name) for number in range(MANY)]
        for query, answer in zip(queries, await asyncio.gather(*(self.ask(resolver, q) for q in queries)), strict=True):
            self.fits(query, answer)

    @rule
    async def test_a_question_that_is_given_up_leaves_nothing_behind(self) -> None:
        """Neither tasks nor sockets; the next one is answered."""
        resolver, query = await self.make(), question(7, self.mine or FOREIGN)
        await self.ask(resolver, query)
        with leaves_nothing("a cancelled resolve()"):
            asking = asyncio.ensure_future(resolver.resolve(query))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await asyncio.sleep(0.05)
        await self.ask(resolver, query)

    @rule
    async def test_no_bytes_whatever_make_it_raise(self) -> None:
        """Any program on the machine may ask; what is no question is left to the next, or refused."""
        resolver, good, chance = await self.make(), question(7, self.mine or FOREIGN), SeededEntropy("dns")
        bad = [good[:size] for size in range(len(good))] + [chance(size) for size in (1, 12, 40, 512, 4096, LARGEST)]
        bad += [good[:12] + b"\xc0\x0c" + good[-4:], good[:12] + b"\x3f" * 300, good[:4] + b"\xff" * 8 + good[12:]]
        for query in bad:
            try:
                answer = await self.ask(resolver, query)
            except Exception as error:
                if isinstance(error, AssertionError):
                    raise
                raise AssertionError(f"resolve({query[:30]!r}...) raised {error!r}; give None instead") from error
            assert answer is None or len(answer) <= LARGEST
