"""Protobuf and JSON for the services, and for what was encoded already."""

from __future__ import annotations

from typing import Any

from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec

from ghostwire_api_grpc.frames import Told


class Binary:
    """Protobuf."""

    def __init__(self) -> None:
        self._codec: Any = google_protobuf_binary_codec()

    def name(self) -> str:
        """As content types have it."""
        return "proto"

    def encode(self, message: Any) -> bytes:
        """A message's bytes."""
        return message.binary() if isinstance(message, Told) else self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: Any) -> Any:
        """A message of these bytes; ValueError, in one line, where they are none."""
        try:
            return self._codec.decode(bytes(data), message_class)
        except Exception as error:
            raise ValueError(" ".join(str(error).split())) from None


class Json(Binary):
    """Protobuf's JSON; what is not known is refused, like in the REST API."""

    def __init__(self) -> None:
        self._codec = google_protobuf_json_codec(ignore_unknown_fields=False)

    def name(self) -> str:
        """As content types have it."""
        return "json"

    def encode(self, message: Any) -> bytes:
        """A message's bytes."""
        return message.json() if isinstance(message, Told) else self._codec.encode(message)
