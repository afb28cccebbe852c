"""What all contracts share: how a rule is run, and how it waits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from ghostwire.errors import GhostwireError

C = TypeVar("C", bound="Contract")
E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which something that should have happened never will."""


class Contract:
    """The root of all contracts; pytest makes one object a test."""

    cleanup: contextlib.AsyncExitStack
    """What the rule opened; closed in reverse order, whatever happens."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one rule. Override it with `ghostwire.testing.simulate` for what lives on a simulated network."""
        asyncio.run(main())

    async def within(self, awaited: Coroutine[Any, Any, T], what: str) -> T:
        """Await with patience; ``what`` should have happened."""
        try:
            return await asyncio.wait_for(awaited, PATIENCE)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {PATIENCE:g} s") from None


def rule(test: Callable[[C], Coroutine[Any, Any, None]]) -> Callable[[C], None]:
    """Make an async method a rule of a contract: a plain test that `Contract.run` runs."""

    @functools.wraps(test)
    def run(self: C) -> None:
        async def main() -> None:
            async with contextlib.AsyncExitStack() as self.cleanup:
                await test(self)

        self.run(main)

    del run.__wrapped__  # else pytest plugins would await the test themselves
    return run


@contextlib.contextmanager
def refused(kind: type[E], what: str) -> Iterator[list[E]]:
    """The block must raise ``kind``: ``what`` is what must be refused. Yields a list that will hold the error."""
    caught: list[E] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        if isinstance(error, GhostwireError):
            text = str(error)
            assert len(text.splitlines()) == 1, f"{what}: the error must be one line for a person, not {text!r}"
        return
    except Exception as error:
        raise AssertionError(
            f"{what} must be refused with {kind.__name__}, but {type(error).__name__} was raised"
        ) from error
    raise AssertionError(f"{what} must be refused with {kind.__name__}, but nothing was raised")
