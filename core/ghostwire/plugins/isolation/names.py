"""Numbers for paths: who names a path first counts it; the other end remembers the last `MAX_PATHS` of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

from ghostwire.capabilities.transport import Buffer
from ghostwire.plugins.isolation.frames import MAX_DATAGRAM, MAX_FRAME, MAX_PATHS, burst_head, is_even, name_frame
from ghostwire.plugins.isolation.protocol import is_endpoint

Send = Callable[[Sequence[Buffer]], bool]
"""Sends a frame, gathered from its parts; False where it was dropped."""
_MOST: Final = MAX_FRAME - 256
"""Bytes of datagrams that one frame takes, whatever its head."""

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


class Table(Generic[T]):
    """What the other end's numbers stand for."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, T] = OrderedDict()

    def get(self, number: int) -> T | None:
        """What this number stands for; None where it was forgotten or never given."""
        return self._held.get(number)

    def put(self, number: int, thing: T) -> T | None:
        """Remember it, and give what is forgotten for it."""
        before = self._held.pop(number, None)
        self._held[number] = thing
        if len(self._held) > MAX_PATHS:
            return self._held.popitem(last=False)[1]
        return before


class Names(Generic[H]):
    """The numbers that this end gives, each until the other end has forgotten it."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[H, int] = OrderedDict()
        self._last = 0

    def known(self, thing: H) -> int | None:
        """Its number, where it has one that the other end remembers."""
        return self._numbers.get(thing)

    def number(self, thing: H, text: Callable[[], str], send: Send) -> int | None:
        """Its number, which the other end knows by now; None where it could not be told."""
        number = self._numbers.get(thing)
        if number is not None:
            return number
        said = text()
        if not is_endpoint(said) or not send((name_frame(self._last + 1 & 0xFFFFFFFF, said),)):
            return None
        self._last = self._last + 1 & 0xFFFFFFFF
        self._numbers[thing] = self._last
        if len(self._numbers) > MAX_PATHS:
            self._numbers.popitem(last=False)
        return self._last


def send_burst(send: Send, number: int, datagrams: Sequence[Buffer]) -> bool:
    """Send a burst in as few frames as take it; False where any of it was dropped."""
    sizes = list(map(len, datagrams))
    if not sizes:
        return True
    least, most, total = _extent(sizes)
    if least == 0 or most > MAX_DATAGRAM:
        send_burst(send, number, [each for each in datagrams if 0 < len(each) <= MAX_DATAGRAM])
        return False
    if total > _MOST and len(sizes) > 1:
        half = len(sizes) // 2
        first = send_burst(send, number, datagrams[:half])
        return send_burst(send, number, datagrams[half:]) and first
    return send((burst_head(number, sizes), *datagrams))


def _extent(sizes: Sequence[int]) -> tuple[int, int, int]:
    """The smallest, the largest, and the sum."""
    if not is_even(sizes):
        return min(sizes), max(sizes), sum(sizes)
    size, last = sizes[0], sizes[-1]
    return min(size, last), max(size, last), size * (len(sizes) - 1) + last
