"""A welcomed control stream: what the sessions of nodes and of relays have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ghostwire.wire import messages
from ghostwire.wire.messages import Refused

if TYPE_CHECKING:
    from ghostwire.capabilities.control import NodeStream

P = TypeVar("P")


class Session(Generic[P]):
    """The session of the node or relay with this ``id``, and how far it was told (see `streams.Viewer`).

    ``protocol`` is the number that both sides speak. ``missed`` says that it was too slow to be told
    something that nobody repeats unasked.
    """

    __slots__ = ("greeted", "id", "missed", "position", "protocol", "stream")

    def __init__(self, id: int, stream: NodeStream, position: P | None = None) -> None:
        self.id, self.stream, self.position = id, stream, position
        self.protocol = min(stream.hello.protocol, messages.PROTOCOL)
        self.greeted = False
        self.missed = False

    @property
    def pending(self) -> int:
        """Bytes not yet taken by the transport."""
        return self.stream.pending

    def push(self, frame: bytes) -> bool:
        """Send an encoded frame; False where it was dropped."""
        return self.stream.send(frame)

    def fail(self) -> None:
        """Hang up."""
        self.stream.close("internal error")

    def tell(self, message: Any) -> None:
        """Send a message, or remember that it was too slow for it."""
        if not self.stream.send(messages.encode(message)):
            self.missed = True

    def end(self, reason: Refused) -> None:
        """Say why, and close."""
        self.stream.send(messages.encode(reason))
        self.stream.close(reason.message)
