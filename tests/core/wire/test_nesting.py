"""What is nested deeper than anybody nests is malformed, and nothing worse."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from ghostwire.errors import Refused, RemoteProtocolError
from ghostwire.frontdoor.rest import body_of
from ghostwire.wire import messages

DEEP = 30_000


@pytest.mark.parametrize("decode", [messages.decode_to_server, messages.decode_to_node])
def test_a_control_message_of_any_depth_is_malformed(decode: object) -> None:
    depth = messages.MAX_FRAME_TO_SERVER // 4
    lists, maps = b"\x81\xa1x" + b"\x91" * depth + b"\xc0", b"\x81\xa1x" * depth + b"\xc0"
    for frame in (lists, maps):
        with pytest.raises(RemoteProtocolError, match="malformed control message"):
            decode(frame)  # type: ignore[operator]


async def test_a_body_of_any_depth_is_malformed() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}", "more_body": False}

    with pytest.raises(Refused, match="the body is wrong"):
        await body_of(Request({"type": "http", "method": "POST", "headers": []}, receive), dict)
