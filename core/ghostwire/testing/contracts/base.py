"""What all contracts share: how a rule is run, how it waits, and how an author declares what his cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from ghostwire.errors import GhostwireError
from ghostwire.hints import did_you_mean, one_line

C = TypeVar("C", bound="Contract")
E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which something that should have happened never will."""


DECLARED = "cannot, as declared: "
"""How the reason of a skipped rule begins."""


class DeclaredInVain(UserWarning):
    """A rule that was declared as one that cannot be kept is kept after all."""


class Contract:
    """The root of all contracts; pytest makes one object a test.

    ``cannot`` declares what the implementation can't do, and why: the rule's name (without ``test_``) and the reason.

        class TestPigeon(TransportContract):
            cannot = {"a_full_burst_of_full_datagrams_arrives_whole": "a pigeon carries one letter"}

    Such a rule still runs. Where it fails it is skipped with that reason; where it is kept, a warning asks to remove
    the declaration. A name that is no rule's is a ValueError when the class is made.
    """

    cannot: ClassVar[Mapping[str, str]] = {}
    """Rule -> why it can't be kept."""

    cleanup: contextlib.AsyncExitStack
    """What the rule opened; closed in reverse order, whatever happens."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        known = cls.rules()
        for name in cls.cannot:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ValueError(f"{cls.__name__}.cannot: no rule {name!r}{hint}; the rules are: {', '.join(known)}")

    @classmethod
    def rules(cls) -> list[str]:
        """The names of all rules, without ``test_``, sorted."""
        return sorted(name.removeprefix("test_") for name in dir(cls) if name.startswith("test_"))

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one rule. Override it with `ghostwire.testing.simulate` for what lives on a simulated network."""
        asyncio.run(main())

    async def within(self, awaited: Coroutine[Any, Any, T], what: str, patience: float = PATIENCE) -> T:
        """Await with patience (in seconds); ``what`` should have happened."""
        try:
            return await asyncio.wait_for(awaited, patience)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {patience:g} s") from None


def rule(test: Callable[[C], Coroutine[Any, Any, None]]) -> Callable[[C], None]:
    """Make an async method a rule of a contract: a plain test that `Contract.run` runs."""

    name = test.__name__.removeprefix("test_")

    @functools.wraps(test)
    def run(self: C) -> None:
        async def main() -> None:
            async with contextlib.AsyncExitStack() as self.cleanup:
                await test(self)

        if name in self.cannot:
            _declared(name, self.cannot[name], lambda: self.run(main))
        else:
            self.run(main)

    del run.__wrapped__  # else pytest plugins would await the test themselves
    return run


def _declared(name: str, why: str, attempt: Callable[[], None]) -> None:
    """Run a rule that need not be kept: skipped where it is not, a warning where it is."""
    import pytest  # here, since programs that use the doubles of this package have none

    try:
        attempt()
    except (Exception, pytest.fail.Exception) as error:
        pytest.skip(f"{DECLARED}{name}: {why} ({one_line(error)[:100] or type(error).__name__})")
    warnings.warn(f"{name} is declared in cannot, but it is kept: remove the declaration", DeclaredInVain, 3)


@contextlib.contextmanager
def leaves_nothing(what: str) -> Iterator[None]:
    """What the block starts must be over when it ends: tasks, descriptors and threads. ``what`` is what it does."""
    tasks, files, threads = asyncio.all_tasks(), _descriptors(), set(threading.enumerate())
    yield
    left = [_named(task) for task in asyncio.all_tasks() - tasks if not task.done()]
    assert not left, f"{what} left tasks behind: {', '.join(left)}"
    opened = _descriptors() - files
    assert not opened, f"{what} left {len(opened)} descriptors open: {', '.join(map(_opened, opened))}"
    running = [each.name for each in set(threading.enumerate()) - threads if not each.name.startswith("asyncio_")]
    assert not running, f"{what} left threads behind: {', '.join(running)}"


def _named(task: asyncio.Task[Any]) -> str:
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '')})"


def _descriptors() -> set[int]:
    """Those open now; none where the system does not tell."""
    if not os.path.isdir("/proc/self/fd"):
        return set()
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


def _opened(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return str(descriptor)


@contextlib.contextmanager
def harmless(what: str) -> Iterator[None]:
    """The block must raise nothing; ``what`` is what it does."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what} must do no harm, but raised {type(error).__name__}: {error}") from error


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
