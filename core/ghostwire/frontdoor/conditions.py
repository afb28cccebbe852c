"""What a request asks of the transaction that carries it out: that a record still is what its caller saw, and that the
answer is remembered with what was made, so that the same request can come again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import Conflict
from ghostwire.model import Record, pack, to_json

T = TypeVar("T")
Work = Callable[[Transaction], T]

STALE = "stale"
"""The code of a Conflict about something that is no longer as its caller saw it."""
TAG_BYTES = 12


class Receipt(Protocol):
    """Of one request that may come again."""

    def answer(self) -> bytes | None:
        """What was answered to it, where it was carried out; Conflict where that was another request."""

    def check(self, transaction: Transaction) -> None:
        """`Repeated` where another server, or another connection, carried it out a moment ago."""

    def keep(self, transaction: Transaction, answer: bytes) -> None:
        """Keep the answer."""


class Repeated(Exception):
    """The same request was carried out a moment ago."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("the same request was carried out a moment ago")
        self.answer = answer


class Attendant:
    """Sees to one request's conditions within its transaction; ``wanted`` are the entity tags of its If-Match.

    With a receipt, what its work returned is the answer, and is kept as JSON in the same transaction.
    """

    def __init__(self, wanted: str | None = None) -> None:
        self._wanted = wanted
        self._expected: Record | None = None
        self.shown: Record | None = None
        self.receipt: Receipt | None = None
        self.answer: bytes | None = None

    def expect(self, record: Record) -> None:
        """Conflict unless this, which is about to be changed, is what If-Match names; also within the transaction."""
        if self._wanted is None or self._wanted.strip() == "*":
            return
        if _record_tag(record) not in (tag.partition(".")[0] for tag in _tags(self._wanted)):
            raise _stale()
        self._expected = record

    def run(self, work: Work[T], transaction: Transaction) -> T:
        """The work, with what belongs to it."""
        expected = self._expected
        if expected is not None and transaction.get(type(expected), expected.id) != expected:
            raise _stale()
        if self.receipt is not None:
            self.receipt.check(transaction)
        result = work(transaction)
        if self.receipt is not None:
            self.answer = to_json(result)
            self.receipt.keep(transaction, self.answer)
        return result


_current: ContextVar[Attendant | None] = ContextVar("attendant", default=None)


@contextmanager
def attending(attendant: Attendant) -> Iterator[None]:
    """What is written within belongs to this request."""
    token = _current.set(attendant)
    try:
        yield
    finally:
        _current.reset(token)


def attended(work: Work[T]) -> Work[T]:
    """The work as the request that it belongs to wants it done; itself where there is none."""
    attendant = _current.get()
    return work if attendant is None else partial(attendant.run, work)


def expect(record: Record) -> None:
    """This is about to be changed: Conflict where the request's If-Match says that it was another."""
    attendant = _current.get()
    if attendant is not None:
        attendant.expect(record)


def shows(record: Record) -> None:
    """The answer shows this record: its ``ETag`` names it, and If-Match takes it."""
    attendant = _current.get()
    if attendant is not None:
        attendant.shown = record


def tagged(request: Request, response: Response, record: Record | None) -> Response:
    """The answer with its ``ETag``, ``"RECORD.WHOLE"`` where it shows a record; 304 where the caller has it already."""
    if "etag" not in response.headers and isinstance(response.body, bytes):
        whole = _digest(response.body)
        response.headers["ETag"] = f'"{_record_tag(record)}.{whole}"' if record is not None else f'"{whole}"'
    tag = response.headers.get("etag", "").strip('"')
    wanted = request.headers.get("if-none-match")
    if request.method != "GET" or wanted is None or not tag or response.status_code != 200:
        return response
    if wanted.strip() != "*" and tag not in _tags(wanted):
        return response
    return Response(status_code=304, headers={"ETag": response.headers["etag"]})


def _tags(text: str) -> list[str]:
    return [each.strip().removeprefix("W/").strip('"') for each in text.split(",")]


def _record_tag(record: Record) -> str:
    return _digest(pack(record))


def _digest(data: bytes) -> str:
    return hashlib.blake2s(data, digest_size=TAG_BYTES).hexdigest()


def _stale() -> Conflict:
    return Conflict("it is no longer as If-Match says; nothing was changed: look at it again", STALE)
