"""How a contract's rule is run."""

import asyncio

import pytest

from ghostwire.testing import simulate
from ghostwire.testing.contracts import Contract, rule


def test_a_rule_closes_what_it_opened_even_when_it_fails() -> None:
    closed = []

    class Some(Contract):
        @rule
        async def test_it(self) -> None:
            self.cleanup.callback(closed.append, True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Some().test_it()
    assert closed == [True]


def test_a_rule_runs_in_a_real_loop_unless_the_subclass_says_otherwise() -> None:
    loops: list[type] = []

    class Some(Contract):
        @rule
        async def test_it(self) -> None:
            loops.append(type(asyncio.get_running_loop()))

    class InVirtualTime(Some):
        run = staticmethod(simulate)

    Some().test_it()
    InVirtualTime().test_it()
    assert [kind.__name__ == "SimulatedLoop" for kind in loops] == [False, True]
