"""What may be asked of a node, as JSON."""

from typing import Any

import msgspec
import pytest

from ghostwire.errors import UsageError
from ghostwire.model import to_json
from ghostwire.node.routes import routes
from ghostwire.testing import simulated


async def post(table: Any, path: str, body: object = None) -> Any:
    raw = b"" if body is None else msgspec.json.encode(body)
    return msgspec.json.decode(to_json(await table["POST", path](raw)))


async def get(table: Any, path: str) -> Any:
    return msgspec.json.decode(to_json(await table["GET", path](b"")))


@simulated
async def test_a_node_is_brought_up_looked_at_pinged_and_taken_down(kit: Any) -> None:
    rig = kit.rig()
    node = rig.node()
    await node.start()
    table = routes(node)
    assert (await get(table, "/v1/status"))["state"] == "needs-login"
    up = await post(table, "/v1/up", {"token": rig.token, "hostname": None, "timeout": 30})
    assert up["state"] == "running"
    assert up["self"]["node_key"].startswith("nodekey:")
    assert up["peers"][0] == {
        "id": 2,
        "name": "node2",
        "addresses": ["100.64.0.2", "fd00:1:2::6440:2"],
        "node_key": "nodekey:" + "02" * 32,
        "path": None,
        "last_handshake": None,
        "rx_bytes": 0,
        "tx_bytes": 0,
        "active": False,
        "state": "asleep",
        "latency_ms": None,
    }
    ping = await post(table, "/v1/ping", {"target": "node2", "timeout": 1})
    assert ping == {"address": "100.64.0.2", "name": "node2", "rtt_ms": 12.5, "path": None}
    assert (await get(table, "/v1/version"))["version"]
    assert (await post(table, "/v1/down"))["state"] == "stopped"
    assert (await post(table, "/v1/up"))["state"] == "running"
    assert (await post(table, "/v1/down", {"logout": True}))["state"] == "needs-login"
    await node.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/up", b"not json"),
        ("/v1/up", b'{"tokken": "x"}'),
        ("/v1/up", b'{"timeout": -1}'),
        ("/v1/up", b'{"timeout": "soon"}'),
        ("/v1/down", b"[]"),
        ("/v1/ping", b"{}"),
        ("/v1/ping", b'{"target": ""}'),
        ("/v1/ping", b'{"target": "x", "timeout": 1e9}'),
        ("/v1/paths", b"{}"),
        ("/v1/paths", b'{"target": "x", "timeout": 1}'),
    ],
)
@simulated
async def test_a_malformed_order_is_a_usage_error_and_changes_nothing(kit: Any, path: str, body: bytes) -> None:
    node = kit.rig().node()
    await node.start()
    with pytest.raises(UsageError, match="malformed request"):
        await routes(node)["POST", path](body)
    assert node.state == "needs-login"
    await node.close()
