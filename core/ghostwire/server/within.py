"""Calls of the administration's API from within the server: the same application as behind the front door."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from ghostwire.capabilities.control import ApiAnswer, ApiCall

log = logging.getLogger("ghostwire.server")


async def dispatch(app: ASGIApp, call: ApiCall, key: str, client: str) -> ApiAnswer:
    """The application's answer to a call by whoever holds this API key and called from that address.

    Whether the key came over a way on which nobody overhears it is for whoever took it to see to.
    """
    sent: list[Message] = []
    body = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> Message:
        return body.pop() if body else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        await app(_scope(call, key, client), receive, send)
    except Exception:
        if not sent:
            raise
        log.exception("%s %s failed", call.method, call.path.partition("?")[0])  # answered 500 already
    start = next(message for message in sent if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start.get("headers", ())}
    return ApiAnswer(start["status"], content, headers)


def _scope(call: ApiCall, key: str, client: str) -> dict[str, Any]:
    path, _, query = call.path.partition("?")
    headers = {name.lower(): value for name, value in call.headers.items()}
    headers |= {"host": "localhost", "content-type": "application/json", "content-length": str(len(call.body))}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode("ascii", "replace"),
        "query_string": query.encode("ascii", "replace"),
        "root_path": "",
        "headers": [
            (name.encode("latin-1", "replace"), text.encode("latin-1", "replace")) for name, text in headers.items()
        ],
        "client": (client, 0),
        "server": ("localhost", 0),
        "state": {"admin": False},
    }
