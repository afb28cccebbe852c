"""The server's frames as messages of Watch. A frame that goes to many streams is the same bytes for all of them: it is
converted and encoded once, as long as it is among the latest."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from google.protobuf import json_format

from ghostwire.wire import messages
from ghostwire.wire.messages import HomeRelay, PeerEndpoints, Refused
from ghostwire_api_grpc import protos
from ghostwire_api_grpc.conversion import fill

KEPT, KEPT_BYTES = 256, 8 * 1024 * 1024
"""Frames that are kept, and bytes of them."""
LARGE = 32 * 1024
"""Bytes of a frame from which on it is converted beside the loop."""

WatchResponse = protos.kind("WatchResponse")


class Told:
    """A message of Watch, encoded once for each codec that anyone asks for; ``refused`` says that it is the last."""

    __slots__ = ("_binary", "_json", "_message", "refused")

    def __init__(self, message: Any, refused: Refused | None = None) -> None:
        self._message, self.refused = message, refused
        self._binary = self._json = b""

    def binary(self) -> bytes:
        """As protobuf."""
        self._binary = self._binary or self._message.SerializeToString()
        return self._binary

    def json(self) -> bytes:
        """As JSON."""
        self._json = self._json or json_format.MessageToJson(self._message, indent=None).encode()
        return self._json


ALIVE = Told(WatchResponse(alive={}))


class Frames:
    """The latest frames and what became of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Told] = OrderedDict()
        self._bytes = 0
        self.converted = 0

    async def told(self, frame: bytes) -> Told:
        """The frame as a message."""
        found = self._kept.get(frame)
        if found is not None:
            return found
        self.converted += 1
        made = await asyncio.to_thread(convert, frame) if len(frame) >= LARGE else convert(frame)
        self._keep(frame, made)
        return made

    def _keep(self, frame: bytes, made: Told) -> None:
        if frame in self._kept:  # by another stream, in the meantime
            return
        self._kept[frame] = made
        self._bytes += len(frame)
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            old, _ = self._kept.popitem(last=False)
            self._bytes -= len(old)


def convert(frame: bytes) -> Told:
    """A frame of the control session as what Watch tells."""
    decoded = messages.decode_to_node(frame)
    name, refused = "map", None
    if isinstance(decoded, PeerEndpoints):
        name = "endpoints"
    elif isinstance(decoded, HomeRelay):
        name = "home_relay"
    elif isinstance(decoded, Refused):
        name, refused = "refused", decoded
    message = WatchResponse()
    getattr(message, name).SetInParent()
    fill(getattr(message, name), decoded)
    told = Told(message, refused)
    told.binary()
    return told
