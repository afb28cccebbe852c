"""What the transport needs of a QUIC library, and which library it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from ghostwire.errors import PlatformError
from ghostwire_transport_quic.keyfile import Credentials
from ghostwire_transport_quic.remote import Address

ALPN = "ghostwire-quic/1"
IDLE_SECONDS = 30.0
PACKET = 1_344
"""The largest UDP payload: a sealed packet of 1312 bytes, 3 of its DATAGRAM frame, up to 13 of the short header, 16 of
the AEAD. With the headers of IPv6 and UDP it passes a path of 1392 bytes."""
LARGEST = PACKET - 32
"""The largest datagram that one packet carries."""
STREAM_CREDIT = 1_024
"""Bytes of streams that a peer may send: a hello is 32."""


class Datagram(NamedTuple):
    """A DATAGRAM frame arrived."""

    data: bytes


class Stream(NamedTuple):
    """Bytes of a stream arrived."""

    number: int
    data: bytes
    ended: bool


class Completed(NamedTuple):
    """The handshake is complete; ``resumed`` by a ticket, which only the server that gave it can use."""

    resumed: bool


class Issued(NamedTuple):
    """The peer may address the connection by this id too."""

    cid: bytes


class Retired(NamedTuple):
    """And by this one no longer."""

    cid: bytes


class Ended(NamedTuple):
    """The connection is over."""

    reason: str


Event = Datagram | Stream | Completed | Issued | Retired | Ended


class Connection(Protocol):
    """One QUIC connection without I/O. Times are seconds. Any call may raise on hostile input: it is over then."""

    cid: bytes

    def connect(self, address: Address, now: float) -> None:
        """Begin the handshake."""

    def receive(self, datagrams: list[bytes], address: Address, now: float) -> None:
        """Take what arrived from one address."""

    def send_datagram(self, datagram: bytes) -> None:
        """Queue a datagram of at most `LARGEST` bytes, where there is `room`."""

    def send_stream(self, data: bytes) -> None:
        """Send this as a whole unidirectional stream."""

    def ping(self) -> None:
        """Have the peer acknowledge something."""

    def room(self) -> int:
        """How many datagrams the congestion window takes now."""

    def transmit(self, now: float) -> list[tuple[bytes, Address]]:
        """What to send now."""

    def timer(self) -> float | None:
        """When to call `advance`."""

    def advance(self, now: float) -> None:
        """Do what is due."""

    def events(self) -> Iterable[Event]:
        """What happened since."""

    def pin(self) -> bytes | None:
        """The pin of the certificate that the server showed; None where it showed none."""

    @property
    def closing(self) -> bool:
        """Whether either side has closed it."""

    def close(self) -> None:
        """Tell the peer, by the next `transmit`."""


Fetch = Callable[[bytes], Any]
Keep = Callable[[Any], object]


class Library(Protocol):
    """Makes connections. Tickets are the library's own objects, ``ticket.ticket`` their bytes on the wire."""

    name: str

    def dial(self, ticket: Any, keep: Keep) -> Connection:
        """A client's; ``keep`` takes the tickets that the server gives."""

    def accept(self, original: bytes, retried: bytes | None, fetch: Fetch, keep: Keep) -> Connection:
        """A server's, for an Initial sent to ``original`` and, after a retry, to ``retried``."""

    def retry(self, source: bytes, destination: bytes, original: bytes, token: bytes) -> bytes:
        """A Retry packet."""


class Deferred:
    """A library that is loaded for the first connection: a node that has none does without 7 MB of memory.

    PlatformError at once where none is installed. One that is, and does not work, is told to ``failed``; what was to be
    done then raises PlatformError.
    """

    name = "deferred"

    def __init__(self, wanted: str, credentials: Credentials, failed: Callable[[str], object]) -> None:
        self._wanted, self._credentials, self._failed = wanted, credentials, failed
        if not any(find_spec(name) for name in _names(wanted)):
            raise _none_works(wanted, "not installed")

    def dial(self, ticket: Any, keep: Keep) -> Connection:
        """See `Library`."""
        return self._library.dial(ticket, keep)

    def accept(self, original: bytes, retried: bytes | None, fetch: Fetch, keep: Keep) -> Connection:
        """See `Library`."""
        return self._library.accept(original, retried, fetch, keep)

    def retry(self, source: bytes, destination: bytes, original: bytes, token: bytes) -> bytes:
        """See `Library`."""
        return self._library.retry(source, destination, original, token)

    @cached_property
    def _library(self) -> Library:
        try:
            return load_library(self._wanted, self._credentials)
        except PlatformError as error:
            self._failed(str(error))
            raise


def load_library(wanted: str, credentials: Credentials) -> Library:
    """The library of this name; ``auto``: the faster one that is there. PlatformError where there is none, or where the
    credentials are spoilt."""
    from ghostwire_transport_quic.certificate import check

    check(credentials)
    missing = []
    for name in _names(wanted):
        try:
            return _load(name, credentials)
        except Exception as error:  # a broken build of a library fails in its own way
            missing.append(f"{name}: {error}")
    raise _none_works(wanted, "; ".join(missing))


def _names(wanted: str) -> tuple[str, ...]:
    return ("qh3", "aioquic") if wanted == "auto" else (wanted,)


def _none_works(wanted: str, reason: str) -> PlatformError:
    return PlatformError(f"no QUIC library works ({reason}); install one: pip install {_names(wanted)[0]}")


def _load(name: str, credentials: Credentials) -> Library:
    if name == "qh3":
        from ghostwire_transport_quic.with_qh3 import Qh3

        return Qh3(credentials)
    from ghostwire_transport_quic.with_aioquic import Aioquic

    return Aioquic(credentials)
