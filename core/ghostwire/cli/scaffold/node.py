"""The texts of a resolver to begin with."""

RESOLVER_FIELDS = """\
    host: str = "printer.example"
    address: str = "192.0.2.7"
"""

RESOLVER = '''\
"""The resolver `$name`: answers for one host name, and leaves all others to the next resolver."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from ghostwire import NodeContext, Resolver

HEADER = struct.Struct("!6H")  # id, flags, and how many questions, answers, authorities and additional records
ANSWER, AUTHORITATIVE, WANTS_RECURSION = 0x8000, 0x0400, 0x0100
A_IN = b"\\0\\1\\0\\1"  # type A, class IN
LIFE = 60  # seconds an answer may be kept


class $class_(Resolver):
    """Answers questions for the A record of ``host``."""

    name = "$name"

    def __init__(self, context: NodeContext) -> None:
        labels = context.settings.host.rstrip(".").lower().encode("idna").split(b".")
        self._name = b"".join(bytes([len(label)]) + label for label in labels) + b"\\0"
        self._address = IPv4Address(context.settings.address).packed

    async def resolve(self, query: bytes) -> bytes | None:
        """The answer; None where another name, type or kind of message is asked for."""
        if len(query) < HEADER.size:
            return None
        id_, flags, questions, *_ = HEADER.unpack_from(query)
        end = HEADER.size + len(self._name) + len(A_IN)
        question = query[HEADER.size : end]
        if flags & 0xF800 or questions != 1 or question.lower() != self._name + A_IN:
            return None
        head = HEADER.pack(id_, ANSWER | AUTHORITATIVE | flags & WANTS_RECURSION, 1, 1, 0, 0)
        return head + question + b"\\xc0\\x0c" + A_IN + struct.pack("!IH", LIFE, 4) + self._address
'''

RESOLVER_CONFORMANCE = '''\
"""How the conformance kit tries `$name`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ghostwire import NodeContext
from ghostwire.testing.contexts import make_context
from ghostwire.testing.contracts import $contract

from $package.implementation import $class_
from $package.settings import Settings


class ${stem}Contract($contract):
    """Asks for the name that it answers."""

    mine = "printer.example"

    async def make(self) -> $class_:
        folder = self.cleanup.enter_context(TemporaryDirectory())
        return $class_(make_context(NodeContext, Path(folder), Settings(host=self.mine)))
'''

RESOLVER_TESTS = '''\
"""What `$name` answers, and what it leaves to others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ghostwire import NodeContext
from ghostwire.testing.contexts import make_context

from $package.conformance import ${stem}Contract
from $package.implementation import $class_
from $package.plugin import Settings

QUERY = bytes.fromhex("abcd01000001000000000000") + b"\\7PRINTER\\7example\\0" + b"\\0\\1\\0\\1"


def ask(folder: Path, query: bytes) -> bytes | None:
    settings = Settings(host="printer.example", address="192.0.2.7")
    resolver = $class_(make_context(NodeContext, folder, settings))
    return asyncio.run(resolver.resolve(query))


def test_its_own_name_is_answered_whatever_the_case(tmp_path: Path) -> None:
    answer = ask(tmp_path, QUERY)
    assert answer is not None
    assert answer[:2] == QUERY[:2]
    assert answer[-4:] == bytes([192, 0, 2, 7])


def test_all_else_is_left_to_the_next_resolver(tmp_path: Path) -> None:
    for query in (b"", QUERY[:20], QUERY.replace(b"PRINTER", b"scanner"), QUERY[:-3] + b"\\x1c" + QUERY[-2:]):
        assert ask(tmp_path, query) is None


class Test$class_(${stem}Contract):
    """Every rule of the contract becomes a test."""
'''
