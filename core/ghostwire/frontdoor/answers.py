"""Plain HTTP answers for a raw stream: what a `StreamUpgrade` says before it takes over, or instead."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import msgspec


def switching(token: str) -> bytes:
    """101: from here on the stream speaks ``token``."""
    return f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {token}\r\n\r\n".encode("ascii")


def refuse(transport: asyncio.Transport, status: HTTPStatus, code: str, message: str, *, retry_after: int = 0) -> None:
    """Say no in one line of JSON, and close. ``retry_after`` is in seconds."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}}) + b"\n"
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if retry_after:
        head.append(f"retry-after: {retry_after}")
    transport.write("\r\n".join([*head, "", ""]).encode("ascii") + body)
    transport.close()
