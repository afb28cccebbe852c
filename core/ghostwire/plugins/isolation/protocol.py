"""What the daemon and a plugin's process say to each other: control messages, and frames of datagrams.

daemon                           child
  Setup              ->                 what to be; then either
                     <-  Described      the names it would offer (a throwaway child, which ends), or
                     <-  Confined       what it locked itself out of, before the plugin is imported
                     <-  Started        its transport runs; or Trouble: why it does not
  Ping               <-> Pong           its event loop turns
                     <-  Ask            wants a socket
  Answer, Accepted   ->                 with the descriptor
  Addresses, Close   ->
                     <-  Advertised, Judged, Measured, Said, Failed

A frame of the data channel names a path or uses one; both ends number the paths that they name themselves:

  kind u8 | path u32 | count u16 | what the kind says, big-endian
  NAME    count 0, then the endpoint's text
  BURST   count lengths u16, then the datagrams
  KNOCK   count is the time to live, then one datagram
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec

from ghostwire.capabilities.transport import BURST, Buffer
from ghostwire.errors import RemoteProtocolError

MAX_CONTROL: Final = 64 * 1024
"""Bytes of one control message."""
MAX_FRAME: Final = 160 * 1024
"""Bytes of one frame; half of what a default socket buffer takes."""
MAX_DATAGRAM: Final = 65_535
MAX_PATHS: Final = 4096
"""Paths that one side remembers of those that the other named; the oldest are forgotten."""
MAX_TEXT: Final = 256
MAX_ENDPOINTS: Final = 16
MAX_METRICS: Final = 64

NAME, BURST_OF, KNOCK = 1, 2, 3
_HEAD = struct.Struct(">BIH")
HEAD_BYTES: Final = _HEAD.size


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The root of all control messages."""


class Setup(Control, frozen=True, kw_only=True, tag="setup"):
    """All that a child is told. ``provider`` is the transport to run; empty: only describe the plugin.

    ``path`` is sys.path, ``table`` its ``[plugin.NAME]``, ``node_key`` a pseudonym. ``parent`` (a process id),
    ``user``, ``memory`` (bytes), ``hidden`` and ``folder`` (the descriptor of its own one) are for its confinement.
    """

    plugin: str
    path: tuple[str, ...]
    table: dict[str, Any]
    parent: int
    memory: int
    user: int | None = None
    folder: int | None = None
    hidden: tuple[str, ...] = ()
    provider: str = ""
    node_key: str = ""
    addresses: tuple[str, ...] = ()
    level: int = 20


class Ping(Control, frozen=True, kw_only=True, tag="ping"):
    """Does the event loop turn?"""

    number: int


class Close(Control, frozen=True, kw_only=True, tag="close"):
    """Close the transport and end."""


class Answer(Control, frozen=True, kw_only=True, tag="answer"):
    """To an Ask: a descriptor comes along, unless there is an error (a type of ghostwire.errors, and its line).

    ``rest`` are bytes of a stream that arrived already.
    """

    number: int
    kind: str = ""
    error: str = ""
    port: int = 0
    rest: bytes = b""


class Accepted(Control, frozen=True, kw_only=True, tag="accepted"):
    """A stream came to a listening port, the one that this Ask opened; its descriptor comes along."""

    number: int
    rest: bytes = b""


class Addresses(Control, frozen=True, kw_only=True, tag="addresses"):
    """This machine's addresses are others."""

    addresses: tuple[str, ...]


class Transporting(msgspec.Struct, frozen=True):
    """A transport that a plugin offers."""

    name: str
    rank: int


class Described(Control, frozen=True, kw_only=True, tag="described"):
    """What a plugin offers to a node: its transports, and the names of its other hooks that offer something."""

    transports: tuple[Transporting, ...]
    others: tuple[str, ...] = ()


class Trouble(Control, frozen=True, kw_only=True, tag="trouble"):
    """The child can't do what it was told: a type of ghostwire.errors, its line, a setting's key."""

    kind: str
    text: str
    key: str = ""


class Confined(Control, frozen=True, kw_only=True, tag="confined"):
    """The measures in force, and those that this system lacks."""

    measures: tuple[str, ...]
    lacking: tuple[str, ...] = ()


class Started(Control, frozen=True, kw_only=True, tag="started"):
    """The transport runs."""

    name: str
    endpoints: tuple[str, ...] = ()


class Pong(Control, frozen=True, kw_only=True, tag="pong"):
    """To a Ping."""

    number: int


class Advertised(Control, frozen=True, kw_only=True, tag="advertised"):
    """The transport's endpoints are others."""

    endpoints: tuple[str, ...]


class Judged(Control, frozen=True, kw_only=True, tag="judged"):
    """Of a path that the daemon named: whether its text makes no sense, or whether it can knock."""

    path: int
    refused: bool = False
    knocks: bool = False


class Sample(msgspec.Struct, frozen=True):
    """A metric's value."""

    name: str
    help: str
    counter: bool
    value: float


class Measured(Control, frozen=True, kw_only=True, tag="measured"):
    """All metrics now."""

    samples: tuple[Sample, ...]


class Said(Control, frozen=True, kw_only=True, tag="said"):
    """A line for the log."""

    level: int
    text: str


class Failed(Control, frozen=True, kw_only=True, tag="failed"):
    """The transport carries nothing any more."""

    reason: str


class Ask(Control, frozen=True, kw_only=True, tag="ask"):
    """A socket, please: ``udp``, ``connect`` or ``listen``; or ``stop`` listening.

    ``secure``: the child will speak TLS on it, asking for ``name``.
    """

    number: int
    what: str
    host: str = ""
    port: int = 0
    secure: bool = False
    name: str = ""


FromDaemon = Setup | Ping | Close | Answer | Accepted | Addresses
FromChild = Described | Trouble | Confined | Started | Pong | Advertised | Judged | Measured | Said | Failed | Ask

_from_daemon = msgspec.msgpack.Decoder(FromDaemon)
_from_child = msgspec.msgpack.Decoder(FromChild)
_encode = msgspec.msgpack.Encoder().encode


def encode(message: Control) -> bytes:
    """One control message; ValueError where it is too large."""
    data = _encode(message)
    if len(data) > MAX_CONTROL:
        raise ValueError(f"a {type(message).__name__} of {len(data)} bytes; {MAX_CONTROL} is the most")
    return data


def from_daemon(data: Buffer) -> Any:
    """A message to the child."""
    return _from_daemon.decode(data)


def from_child(data: Buffer) -> Any:
    """A message of the child's; RemoteProtocolError where it is none."""
    try:
        return _from_child.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"sent no control message ({error})") from None


class Frame(msgspec.Struct, frozen=True):
    """A frame, taken apart: ``ttl`` of a knock, ``text`` of a name, else datagrams that are views of the buffer."""

    kind: int
    path: int
    datagrams: Sequence[memoryview] = ()
    text: str = ""
    ttl: int = 0


@cache
def _burst_head(count: int) -> struct.Struct:
    return struct.Struct(f">BIH{count}H")


def name_frame(path: int, text: str) -> bytes:
    """Give an endpoint's text a number."""
    return _HEAD.pack(NAME, path, 0) + text.encode()


def burst_head(path: int, sizes: Sequence[int]) -> bytes:
    """What goes before the datagrams of a burst."""
    return _burst_head(len(sizes)).pack(BURST_OF, path, len(sizes), *sizes)


def knock_head(path: int, ttl: int) -> bytes:
    """What goes before the datagram of a knock."""
    return _HEAD.pack(KNOCK, path, ttl)


def parse_frame(view: memoryview) -> Frame:
    """Take a frame apart; RemoteProtocolError where it is none. No bytes of datagrams are copied."""
    if len(view) < HEAD_BYTES:
        raise RemoteProtocolError(f"sent a frame of {len(view)} bytes")
    kind, path, count = _HEAD.unpack_from(view)
    if kind == BURST_OF:
        return Frame(kind, path, _cut(view, count))
    if kind == NAME:
        return Frame(kind, path, text=_text(view[HEAD_BYTES:]))
    if kind == KNOCK:
        return Frame(kind, path, (view[HEAD_BYTES:],), ttl=count)
    raise RemoteProtocolError(f"sent a frame of kind {kind}")


def _cut(view: memoryview, count: int) -> list[memoryview]:
    start = HEAD_BYTES + 2 * count
    if not 0 < count <= BURST or start > len(view):
        raise RemoteProtocolError(f"sent a burst of {count} datagrams in {len(view)} bytes")
    sizes = _burst_head(count).unpack_from(view)[3:]
    if start + sum(sizes) != len(view) or not min(sizes):
        raise RemoteProtocolError("sent a burst whose lengths are wrong")
    datagrams = []
    for size in sizes:
        datagrams.append(view[start : start + size])
        start += size
    return datagrams


def _text(view: memoryview) -> str:
    try:
        text = bytes(view[: MAX_TEXT + 1]).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("named a path with bytes that are no text") from None
    if not is_endpoint(text):
        raise RemoteProtocolError("named a path with a text that is no endpoint's")
    return text


def is_endpoint(text: str) -> bool:
    """Whether this could be the text of an endpoint: not empty, printable, not too long."""
    return bool(text) and text.isprintable() and len(text.encode()) <= MAX_TEXT
