"""What the daemon and a plugin's process say to each other: control messages.

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

Frames of datagrams, in the rings of the data channel, are `frames`' matter.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ghostwire.capabilities.transport import Buffer
from ghostwire.errors import RemoteProtocolError

MAX_CONTROL: Final = 64 * 1024
"""Bytes of one control message."""
MAX_TEXT: Final = 256
MAX_ENDPOINTS: Final = 16
MAX_METRICS: Final = 64


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


def is_endpoint(text: str) -> bool:
    """Whether this could be the text of an endpoint: not empty, printable, not too long."""
    return bool(text) and text.isprintable() and len(text.encode()) <= MAX_TEXT
