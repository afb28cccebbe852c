"""Hands bytes to a protocol, of either of asyncio's kinds."""

from __future__ import annotations

import asyncio
from typing import cast


def deliver(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """By ``data_received``, or through the protocol's own buffer as often as it takes."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        cast("asyncio.Protocol", protocol).data_received(data)
        return
    view = memoryview(data)
    while view:
        room = memoryview(protocol.get_buffer(len(view)))[: len(view)]
        room[:] = view[: len(room)]
        protocol.buffer_updated(len(room))
        view = view[len(room) :]
