"""Exceptions that nobody caught are told to whom they concern, and else go where they went before."""

import asyncio
from typing import Any

import pytest

from ghostwire.node.transports import inflow
from ghostwire.node.transports.blame import Blame, packages

HERE = __name__.partition(".")[0]


def boom() -> None:
    raise RuntimeError("boom")


async def passes() -> None:
    """Two passes of the loop, in which what was due before has happened."""
    for _ in range(2):
        await asyncio.sleep(0)


async def test_what_one_listener_takes_goes_nowhere_else_and_the_handler_before_comes_back() -> None:
    loop, before, taken = asyncio.get_running_loop(), list[Any](), list[frozenset[str]]()
    loop.set_exception_handler(lambda loop, context: before.append(context["exception"]))
    handler = loop.get_exception_handler()

    def mine(error: BaseException, packages: frozenset[str]) -> bool:
        taken.append(packages)
        return HERE in packages

    deaf = Blame.listen(lambda error, packages: False)
    stop = Blame.listen(mine)
    loop.call_soon(boom)
    await passes()
    assert (len(taken), HERE in taken[0], before) == (1, True, [])
    stop()
    loop.call_soon(boom)
    await passes()
    assert (len(taken), [str(error) for error in before]) == (1, ["boom"])
    deaf()
    assert loop.get_exception_handler() is handler


async def test_what_core_raises_while_a_transport_delivers_is_not_the_transports() -> None:

    scope: dict[str, Any] = {"__name__": inflow.__name__, "receive": boom}
    exec("def deliver(): receive()", scope)  # stands for the receiving end: its module is what counts
    with pytest.raises(RuntimeError) as through_core:
        scope["deliver"]()
    with pytest.raises(RuntimeError) as its_own:
        boom()
    assert packages(through_core.value.__traceback__) == frozenset()
    assert packages(its_own.value.__traceback__) == {HERE}
