"""The Unix socket: for root, the server's own user and the operator."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from ghostwire.errors import PlatformError
from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.guard import MAX_ADMIN_BODY, MAX_BODY

MakeClient = Any
ABOUT = "GET /about HTTP/1.1\nHost: h"


async def test_our_own_user_is_an_administrator(app: Any, client: MakeClient, socket_path: Path) -> None:
    door = FrontDoor(app)
    await door.start_unix(socket_path, [])
    peer = await client.unix(socket_path)
    status, body = await peer.ask(ABOUT)
    assert (status, json.loads(body)) == (200, {"admin": True, "uid": os.geteuid(), "body": ""})
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o666
    peer.close()
    await door.close()
    assert not socket_path.exists()


@pytest.mark.parametrize(("length", "status"), [(2 * MAX_BODY, 200), (MAX_ADMIN_BODY + 1, 413)], ids=["2 MiB", "more"])
async def test_administrators_send_more_than_strangers_and_not_without_end(
    app: Any, client: MakeClient, socket_path: Path, length: int, status: int
) -> None:
    door = FrontDoor(app)
    await door.start_unix(socket_path, [])
    peer = await client.unix(socket_path)
    answered, _ = await peer.ask(f"POST /about HTTP/1.1\nHost: h\nContent-Length: {length}", b"x" * length)
    assert answered == status
    peer.close()
    await door.close()


@pytest.mark.parametrize(("allowed", "status"), [([], 403), ([4242], 200)])
async def test_others_are_admitted_by_their_user_id(
    app: Any, client: MakeClient, socket_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: list[int], status: int
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.door._uid_of", lambda transport: 4242)
    door = FrontDoor(app)
    await door.start_unix(socket_path, allowed)
    peer = await client.unix(socket_path)
    answered, body = await peer.ask("POST /about HTTP/1.1\nHost: h\nContent-Length: 2", b"hi")
    assert answered == status
    assert body.count(b"\n") == (1 if status == 403 else 0)
    assert json.loads(body).get("error", {}).get("code") == ("permission-denied" if status == 403 else None)
    peer.close()
    await door.close()


async def test_nobody_takes_up_the_places_of_root(
    app: Any, client: MakeClient, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = iter([4242, 4242, 4242, 0])
    monkeypatch.setattr("ghostwire.frontdoor.door._uid_of", lambda transport: next(uids))
    door = FrontDoor(app)
    door._backend.local.per_address = 2
    door._backend.admission.total = 0  # the network is full of strangers
    await door.start_unix(socket_path, [])
    strangers = [await client.unix(socket_path) for _ in range(3)]
    assert await strangers[2].rest() == b""
    root = await client.unix(socket_path)
    assert (await root.ask(ABOUT))[0] == 200
    for peer in (*strangers, root):
        peer.close()
    await door.close()


def exists_here(uid: int) -> bool:
    """Whether this user namespace knows the user."""
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= uid < first + count for first, _, count in ranges)


@pytest.mark.skipif(os.geteuid() != 0 or not exists_here(4242), reason="needs root to become somebody else")
async def test_the_kernel_says_who_it_is(app: Any, socket_path: Path) -> None:
    door = FrontDoor(app)
    await door.start_unix(socket_path, [])
    script = (
        "import os, socket, sys; os.setuid(4242); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET /about HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.makefile('rb').read().split()[1].decode())"
    )
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/env", "python3", "-c", script, str(socket_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output == b"403\n"
    await door.close()


async def test_an_upgrade_is_not_for_the_unix_socket(
    app: Any, echo: Any, client: MakeClient, socket_path: Path
) -> None:
    door = FrontDoor(app, [echo])
    await door.start_unix(socket_path, [])
    peer = await client.unix(socket_path)
    assert (await peer.ask(ABOUT + "\nConnection: upgrade\nUpgrade: echo"))[0] == 200
    peer.close()
    await door.close()


async def test_a_stale_socket_is_replaced(app: Any, client: MakeClient, socket_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(socket_path))
    stale.close()
    door = FrontDoor(app)
    await door.start_unix(socket_path, [])
    peer = await client.unix(socket_path)
    assert (await peer.ask(ABOUT))[0] == 200
    peer.close()
    await door.close()


async def test_a_live_socket_is_not_taken_away(app: Any, client: MakeClient, socket_path: Path) -> None:
    door, second = FrontDoor(app), FrontDoor(app)
    await door.start_unix(socket_path, [])
    with pytest.raises(PlatformError, match="another server is running there"):
        await second.start_unix(socket_path, [])
    await second.close()
    peer = await client.unix(socket_path)
    assert (await peer.ask(ABOUT))[0] == 200
    peer.close()
    await door.close()


async def test_closing_leaves_a_successors_socket_alone(app: Any, socket_path: Path) -> None:
    door, successor = FrontDoor(app), FrontDoor(app)
    await door.start_unix(socket_path, [])
    socket_path.unlink()
    await successor.start_unix(socket_path, [])
    await door.close()
    assert socket_path.exists()
    await successor.close()
    assert not socket_path.exists()


async def test_a_file_in_the_way_is_named_and_kept(app: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("precious")
    with pytest.raises(PlatformError, match="not a socket; move it"):
        await FrontDoor(app).start_unix(path, [])
    assert path.read_text() == "precious"


@pytest.mark.parametrize("path", ["/nonexistent/folder/s.sock", "/tmp/" + "x" * 200])
async def test_an_impossible_path_is_named(app: Any, path: str) -> None:
    with pytest.raises(PlatformError, match=path[:30]):
        await FrontDoor(app).start_unix(Path(path), [])
