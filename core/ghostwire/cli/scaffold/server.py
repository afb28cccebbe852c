"""The texts of what runs in the server, to begin with: an authenticator, a storage, a policy engine, routes."""

JUDGED_TESTS = '''\
"""The rules that every plugin of this kind keeps, on `$name`; their names and messages explain them."""

from __future__ import annotations

from $package.conformance import ${stem}Contract


class Test$class_(${stem}Contract):
    """Every rule of the contract becomes a test."""
'''

AUTHENTICATOR = '''\
"""The authenticator `$name`: vouchers, each good for one machine, kept by their digests."""

from __future__ import annotations

import hashlib

from ghostwire import Admission, Authenticator, EnrolmentRequest, ServerContext, Transaction
from ghostwire.errors import AuthenticationFailed


class $class_(Authenticator):
    """Admits whoever shows a voucher that `issue` made, once."""

    name = "$name"

    def __init__(self, context: ServerContext) -> None:
        self._log = context.log

    def admit(self, transaction: Transaction, request: EnrolmentRequest) -> Admission:
        """Consume the voucher; the same machine may show it again, since its first answer may have been lost."""
        place = _place(request.secret)
        user, _, holder = (transaction.setting(place) or "").partition(" ")
        machine = str(request.machine_key)
        if not user:
            raise AuthenticationFailed("no such voucher; ask the operator for a new one")
        if holder not in ("", machine):
            raise AuthenticationFailed("the voucher was used by another machine; ask the operator for a new one")
        transaction.set_setting(place, f"{user} {machine}")
        return Admission(user=int(user))


def issue(transaction: Transaction, secret: str, user: int) -> None:
    """Make this secret a voucher for that user."""
    transaction.set_setting(_place(secret), str(user))


def _place(secret: str) -> str:
    """Where a voucher is kept: found by its digest, so that what is stored lets nobody in."""
    return "$name:" + hashlib.blake2s(secret.encode("utf-8", "surrogatepass")).hexdigest()
'''

AUTHENTICATOR_CONFORMANCE = '''\
"""How the conformance kit tries `$name`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ghostwire import ServerContext, Transaction
from ghostwire.testing.contexts import make_context
from ghostwire.testing.contracts import $contract

from $package.implementation import $class_, issue
from $package.settings import Settings


class ${stem}Contract($contract):
    """Grants what the rules show: a voucher."""

    async def make(self) -> $class_:
        folder = self.cleanup.enter_context(TemporaryDirectory())
        return $class_(make_context(ServerContext, Path(folder), Settings()))

    def grant(self, transaction: Transaction, user: int, now: int) -> str:
        issue(transaction, "a voucher for one", user)
        return "a voucher for one"
'''


STORAGE = '''\
"""The storage `$name`: a place to begin. It keeps every promise but the one of outliving the process."""

from __future__ import annotations

from ghostwire import Context
from ghostwire.testing import MemoryDatabase, MemoryStorage


class $class_(MemoryStorage):
    """Replace each method by one that keeps its records on a disk; the tests say whether it still keeps the rules."""

    def __init__(self, context: Context, database: MemoryDatabase | None = None) -> None:
        super().__init__(database, entropy=context.entropy)
'''

STORAGE_CONFORMANCE = '''\
"""How the conformance kit tries `$name`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ghostwire import Context
from ghostwire.testing import MemoryDatabase
from ghostwire.testing.contexts import make_context
from ghostwire.testing.contracts import $contract

from $package.implementation import $class_
from $package.settings import Settings


class ${stem}Contract($contract):
    """Each `make` within a rule opens the same store again."""

    _disk: MemoryDatabase | None = None

    async def make(self) -> $class_:
        self._disk = self._disk or MemoryDatabase()
        folder = self.cleanup.enter_context(TemporaryDirectory())
        return $class_(make_context(Context, Path(folder), Settings()), self._disk)
'''


POLICY = '''\
"""The policy engine `$name`: its whole language is two words."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire import Bearer, CompiledPolicy, PolicyEngine, PolicyRule, ServerContext
from ghostwire.capabilities.policy import EVERYONE
from ghostwire.errors import Finding, PolicyError

ALL = ("0.0.0.0/0", "::/0")
RULES: dict[str, Sequence[PolicyRule]] = {
    "open": (PolicyRule(sources=(EVERYONE,), destinations=(EVERYONE,), destination_prefixes=ALL, line=1, column=1),),
    "closed": (),
}


class _OneWord(CompiledPolicy):
    """One of the two policies there are."""

    def __init__(self, word: str) -> None:
        self.rules = RULES[word]

    def selectors(self, node: Bearer) -> Sequence[str]:
        """Every node carries the one selector there is."""
        return (EVERYONE,)


class $class_(PolicyEngine):
    """``open`` lets everybody reach everybody, ``closed`` nobody anybody."""

    name = "$name"

    def __init__(self, context: ServerContext) -> None:
        self._log = context.log

    def compile(self, source: str) -> CompiledPolicy:
        """The rules of a policy; PolicyError where it is neither of the two."""
        word = source.strip()
        if word not in RULES:
            raise PolicyError([Finding(1, 1, "a policy is one word: open, or closed")])
        return _OneWord(word)
'''

POLICY_CONFORMANCE = '''\
"""How the conformance kit tries `$name`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ghostwire import ServerContext
from ghostwire.testing.contexts import make_context
from ghostwire.testing.contracts import $contract

from $package.implementation import $class_
from $package.settings import Settings


class ${stem}Contract($contract):
    """The policies that the rules compile: all there are, and one with a mistake."""

    good = ("open", "closed")
    wrong = "half open"

    async def make(self) -> $class_:
        folder = self.cleanup.enter_context(TemporaryDirectory())
        return $class_(make_context(ServerContext, Path(folder), Settings()))
'''

POLICY_TESTS = '''\
"""What policies of `$name` mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from ghostwire import ServerContext
from ghostwire.capabilities.policy import EVERYONE
from ghostwire.errors import PolicyError
from ghostwire.testing.contexts import make_context

from $package.conformance import ${stem}Contract
from $package.implementation import $class_
from $package.plugin import Settings


@pytest.fixture
def engine(tmp_path: Path) -> $class_:
    return $class_(make_context(ServerContext, tmp_path, Settings()))


def test_an_open_policy_lets_everyone_reach_everyone(engine: $class_) -> None:
    (rule,) = engine.compile(" open\\n").rules
    assert (rule.sources, rule.destinations) == ((EVERYONE,), (EVERYONE,))


def test_a_closed_policy_has_no_rule(engine: $class_) -> None:
    assert engine.compile("closed").rules == ()


def test_anything_else_is_refused_in_one_line(engine: $class_) -> None:
    with pytest.raises(PolicyError, match="open, or closed"):
        engine.compile("half open")


class Test$class_(${stem}Contract):
    """Every rule of the contract becomes a test."""
'''

ROUTES_FIELDS = """\
    motto: str = "every capability is a plugin"
"""

ROUTES = '''\
"""The routes `$name`: one that anybody may ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghostwire import Context, Routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute


class $class_(Routes):
    """``GET /$name`` answers with the motto of the settings."""

    name = "$name"

    def __init__(self, context: Context) -> None:
        self._motto: str = context.settings.motto

    def public(self) -> Sequence[BaseRoute]:
        """What anybody may ask."""
        from starlette.routing import Route

        return [Route("/$name", self.answer)]

    def admin(self) -> Sequence[BaseRoute]:
        """Nothing for administrators alone."""
        return []

    async def answer(self, request: Request) -> Response:
        """The motto."""
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(self._motto)
'''

ROUTES_TESTS = '''\
"""What `$name` answers over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from ghostwire import Context
from ghostwire.testing.contexts import make_context

from $package.implementation import $class_
from $package.plugin import Settings

pytest.importorskip("starlette")


def test_its_one_public_route_answers_with_the_motto(tmp_path: Path) -> None:
    routes = $class_(make_context(Context, tmp_path, Settings(motto="hello")))
    (route,) = routes.public()
    request: Any = None
    assert route.path == "/$name"
    assert asyncio.run(routes.answer(request)).body == b"hello"
    assert routes.admin() == []
'''
