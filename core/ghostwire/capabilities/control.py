"""What plugins that bring APIs of their own share with the control plane: control streams that come another way than by
the Upgrade, and calls of the administration's API within the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from ghostwire.keys import MachineKey, NodeKey, PublicKey


class NodeStream(Protocol):
    """One node's stream, after its hello has come and its machine key was proven. See `ghostwire.server.channel`.

    ``hello`` is a `wire.messages.Hello`; ``client`` its address as text; ``pending`` the bytes not yet taken.
    """

    hello: Any
    client: str

    @property
    def machine_key(self) -> MachineKey:
        """The machine's identity, proven."""

    @property
    def closed(self) -> bool:
        """Whether the stream has ended or is about to."""

    @property
    def pending(self) -> int:
        """Bytes not yet taken by the transport."""

    def verify(self, key: PublicKey, proof: bytes) -> bool:
        """Whether the other side holds this key's private half; asked once, False ever after."""

    def send(self, frame: bytes) -> bool:
        """Send an encoded `wire.messages` message; False where it was dropped."""

    def close(self, reason: str = ...) -> None:
        """Send what was accepted, then close; harmless when called twice."""

    def on_message(self, callback: Callable[[Any], None]) -> None:
        """Where decoded messages after the hello go; nothing is read before."""

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Called once when the stream is over."""

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Called whenever much was pending and is not any more."""


class ServerChallenge(Protocol):
    """What a client has to answer, once; ``proof`` shows that the server holds its control key. See
    `ghostwire.wire.challenge`."""

    @property
    def public(self) -> bytes:
        """The server's fresh key."""

    @property
    def proof(self) -> bytes:
        """The server's own proof."""

    def verify(self, key: MachineKey | NodeKey, proof: bytes) -> bool:
        """Whether the client proved that it holds this key's private half."""


class ApiCall(msgspec.Struct, frozen=True):
    """A request of the administration's API: ``path`` with its query, ``body`` in JSON."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = {}


class ApiAnswer(msgspec.Struct, frozen=True):
    """Its answer; ``body`` in JSON, ``{"error": {"code", "message"}}`` where ``status`` is 400 or more."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
