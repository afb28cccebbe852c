"""Keys inside records and messages: bytes in msgpack, text in JSON, and nothing else is one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import NodeKey
from ghostwire.model import from_json, pack, to_json, unpacker
from ghostwire.wire.messages import decode_to_server

KEY = NodeKey(bytes(range(32)))
HELLO = {"type": "hello", "protocol": 1, "disco_key": bytes(32), "proof": b""}


class Holder(msgspec.Struct):
    key: NodeKey


def test_a_key_is_raw_bytes_in_msgpack_and_text_in_json() -> None:
    assert msgspec.msgpack.decode(pack(Holder(KEY))) == {"key": KEY.raw}
    assert msgspec.json.decode(to_json(Holder(KEY))) == {"key": str(KEY)}
    assert unpacker(Holder).decode(pack(Holder(KEY))) == Holder(KEY)
    assert from_json(to_json(Holder(KEY)), Holder) == Holder(KEY)


@pytest.mark.parametrize("value", [4, 1.5, True, None, [], {}, b"short", "nodekey:zz", "mkey:" + "00" * 32])
def test_what_is_no_key_is_a_validation_error_wherever_it_comes_from(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="key"):
        unpacker(Holder).decode(msgspec.msgpack.encode({"key": value}))
    with pytest.raises(RemoteProtocolError):
        decode_to_server(msgspec.msgpack.encode(HELLO | {"node_key": value}))
