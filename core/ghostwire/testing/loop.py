"""An asyncio event loop in virtual time: it never waits, but jumps to the next timer when nothing else is left to do.

    @simulated
    async def test_an_hour_passes_at_once() -> None:
        await asyncio.sleep(3600)

A run is a function of its inputs: there are no sockets, threads or signals, and callbacks run in the order in which
they were scheduled. Work for an executor is done at once, in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import threading
from asyncio import base_events
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, ParamSpec, TypeVar

from ghostwire.engine import SECOND
from ghostwire.testing.clock import ManualClock

T = TypeVar("T")
P = ParamSpec("P")

DAY = 24 * 3600 * SECOND
LIMIT = 30 * DAY
"""How much virtual time a simulation may take: enough for any test, little enough to end one that spins for ever."""


class SimulationError(AssertionError):
    """The simulated program waits for something that cannot happen, or reaches for the real world."""


class _VirtualSelector:
    """Stands where asyncio expects a selector: instead of waiting it moves the clock."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise SimulationError(_deadlock(self._loop))
        if timeout > 0:
            self._loop.skip(max(1, round(timeout * SECOND)))
        return []


class _Timer(asyncio.TimerHandle):
    """Breaks ties by age."""

    __slots__ = ("order",)
    order: int

    def __lt__(self, other: object) -> bool:
        return isinstance(other, _Timer) and (self.when(), self.order) < (other.when(), other.order)


class SimulatedLoop(base_events.BaseEventLoop):
    """The loop; ``clock`` is the one the program under test gets, so that timers and engines agree on the time."""

    def __init__(self, clock: ManualClock | None = None, *, limit: int = LIMIT) -> None:
        super().__init__()
        self.clock = clock or ManualClock()
        self.failures: list[BaseException] = []
        """What callbacks raised, which asyncio would only have logged."""
        self._started = self.clock.now()
        self._limit = limit
        self._order = itertools.count()
        self._selector = _VirtualSelector(self)
        self._clock_resolution = 0.5 / SECOND
        self.set_exception_handler(_remember)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return (self.clock.now() - self._started) / SECOND

    def skip(self, nanoseconds: int) -> None:
        """Move the clock; SimulationError where the simulation has taken too long."""
        self.clock.advance(nanoseconds)
        if self.clock.now() - self._started > self._limit:
            raise SimulationError(
                f"the simulation passed its limit of {self._limit / SECOND:.0f} virtual seconds while timers kept "
                f"firing; something the test awaits never happens:\n{_waiting(self)}"
            )

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, except that timers of one moment fire in the order in which they were set."""
        timer = _Timer(when, callback, args, self, context)
        timer.order = next(self._order)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Do the work at once: a simulation has no threads."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        """As `call_soon`; SimulationError from another thread."""
        if self.is_running() and threading.get_ident() != self._thread_id:  # type: ignore[attr-defined]
            raise SimulationError("another thread called into the simulated loop, which never waits for threads")
        return self.call_soon(callback, *args, context=context)

    def _process_events(self, events: list[Any]) -> None:
        """Nothing ever comes from the virtual selector."""

    def _write_to_self(self) -> None:
        """Nothing to wake: the loop never sleeps."""


_REAL_WORLD = """
    add_reader add_writer remove_reader remove_writer add_signal_handler getaddrinfo getnameinfo create_connection
    create_server create_datagram_endpoint create_unix_connection create_unix_server connect_accepted_socket
    connect_read_pipe connect_write_pipe subprocess_exec subprocess_shell sendfile sock_recv sock_recv_into
    sock_recvfrom sock_recvfrom_into sock_sendall sock_sendto sock_connect sock_accept sock_sendfile
""".split()  # noqa: SIM905 (as a list it would fill a page)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise SimulationError(
            f"loop.{name}() needs the real world, which a simulated loop does not have; take streams and datagrams "
            "from the context's sockets and transports"
        )

    refuse.__name__ = name
    return refuse


for _name in _REAL_WORLD:
    setattr(SimulatedLoop, _name, _refusal(_name))


def simulate(main: Callable[[], Coroutine[Any, Any, T]], *, clock: ManualClock | None = None, limit: int = LIMIT) -> T:
    """Run ``main()`` in virtual time and return its result; tasks it leaves behind are cancelled.

    Raises what ``main`` raises, else the first exception of any callback, else SimulationError where the program
    waits for ever or takes more than ``limit`` virtual nanoseconds.
    """
    loop = SimulatedLoop(clock, limit=limit)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main())
    if loop.failures:
        raise loop.failures[0]
    return result


def simulated(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async test a plain one that runs in virtual time; its other arguments stay pytest fixtures."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return simulate(lambda: test(*args, **kwargs))

    return run


def running_clock() -> ManualClock:
    """The clock of the simulation that runs now."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        raise SimulationError("no simulation is running; pass a clock, or use simulate() or @simulated")
    return loop.clock


def _remember(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is None or not isinstance(loop, SimulatedLoop):
        loop.default_exception_handler(context)
    else:
        error.add_note(f"in the simulated loop: {context.get('message')}")
        loop.failures.append(error)


def _deadlock(loop: SimulatedLoop) -> str:
    return (
        f"deadlock after {loop.time():.3f} virtual seconds: every task waits, no timer is set, and nothing else can "
        f"wake them:\n{_waiting(loop)}"
    )


def _waiting(loop: SimulatedLoop) -> str:
    return "\n".join(sorted(f"  {task.get_name()} {_place(task)}" for task in asyncio.all_tasks(loop)))


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task waits: its innermost coroutine."""
    awaited: Any = task.get_coro()
    frame = getattr(awaited, "cr_frame", None)
    while getattr(getattr(awaited, "cr_await", None), "cr_frame", None) is not None:
        awaited = awaited.cr_await
        frame = awaited.cr_frame
    if frame is None:
        return "(not started)"
    return f"waits in {awaited.__qualname__} ({frame.f_code.co_filename}:{frame.f_lineno})"
