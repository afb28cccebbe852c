"""Names, looked up by threads that may hang."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.errors import Unavailable
from ghostwire.system.names import MOST, Resolver
from ghostwire.system.remembered import ADDRESSES, Remembered
from ghostwire.system.sockets import SystemSockets

HANGS = "hangs.example"


class Names:
    """The system's resolver: knows some names, hangs at others until it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self.known = {"relay.example": ["2001:db8::1", "127.0.0.1", "127.0.0.1"]}

    def __call__(self, host: str, *words: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        if host.endswith(HANGS):
            self.go.wait()
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in self.known[host]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr("ghostwire.system.names.socket.getaddrinfo", names)
    yield names
    names.go.set()


async def test_a_name_gives_each_address_once_and_an_address_itself(names: Names) -> None:
    resolve = Resolver()
    assert await resolve("relay.example") == ["2001:db8::1", "127.0.0.1"]
    assert await resolve("192.0.2.7") == ["192.0.2.7"]
    assert await resolve("fe80::1%lo") == ["fe80::1%lo"]
    with pytest.raises(socket.gaierror):
        await resolve("nobody.example")
    assert names.asked == ["relay.example", "nobody.example"]


async def test_names_that_hang_keep_no_other_waiting_and_are_asked_once_each(names: Names) -> None:
    resolve = Resolver()
    hanging = [asyncio.ensure_future(resolve(f"{number % 20}.{HANGS}")) for number in range(40)]
    async with asyncio.timeout(20):
        assert await resolve("relay.example")
    assert len(names.asked) == 21
    hanging[0].cancel()  # who gives up costs the other who asked nothing
    names.go.set()
    results = await asyncio.gather(*hanging, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] + [socket.gaierror] * 39
    with pytest.raises(socket.gaierror):
        await resolve(f"0.{HANGS}")
    assert len(names.asked) == 22


async def test_the_number_of_lookups_is_bounded(names: Names) -> None:
    resolve = Resolver()
    hanging = [asyncio.ensure_future(resolve(f"{number}.{HANGS}")) for number in range(MOST)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many names"):
        await resolve("relay.example")
    names.go.set()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert await resolve("relay.example")


async def test_a_stream_goes_to_the_first_address_that_answers(names: Names) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await SystemSockets().connect(asyncio.Protocol, "relay.example", port)
    assert transport.get_extra_info("peername")[0] == "127.0.0.1"
    transport.close()
    server.close()
    with pytest.raises(Unavailable, match=r"relay\.example:1: "):
        await SystemSockets().connect(asyncio.Protocol, "relay.example", 1)


def test_a_lookup_that_outlives_its_loop_ends_quietly(names: Names) -> None:
    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Resolver()(HANGS)

    asyncio.run(ask())
    names.go.set()
    for thread in threading.enumerate():
        if thread.name == "lookup":
            thread.join(10)


async def until_idle() -> None:
    """Wait for the lookups' threads."""
    while any(thread.name == "lookup" for thread in threading.enumerate()):
        await asyncio.sleep(0.01)


async def test_the_last_answer_serves_when_nobody_answers_now_also_after_a_restart(
    names: Names, tmp_path: Path
) -> None:
    file = tmp_path / "names.json"
    assert await Resolver(Remembered(file))("relay.example") == ["2001:db8::1", "127.0.0.1"]
    assert file.stat().st_mode & 0o777 == 0o600
    names.known.clear()
    resolve = Resolver(Remembered(file))
    assert list(await resolve("relay.example")) == ["2001:db8::1", "127.0.0.1"]
    with pytest.raises(socket.gaierror):
        await resolve("nobody.example")


async def test_a_resolver_that_hangs_holds_up_no_name_that_is_known_and_its_late_answer_counts(
    names: Names, tmp_path: Path
) -> None:
    remembered = Remembered(tmp_path / "names.json")
    remembered.remember(HANGS, ["192.0.2.1"])
    names.known[HANGS] = ["192.0.2.2"]
    resolve = Resolver(remembered)
    async with asyncio.timeout(10):
        assert list(await resolve(HANGS)) == ["192.0.2.1"]
        assert names.asked == [HANGS]
        names.go.set()
        await until_idle()
        names.known.clear()
        assert list(await resolve(HANGS)) == ["192.0.2.2"]


async def test_names_that_others_make_up_push_none_out_that_is_remembered(names: Names, tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "names.json")
    resolve = Resolver(remembered)
    await resolve("relay.example")
    for number in range(MOST):
        names.known[f"{number}.example"] = ["192.0.2.1"]
        await resolve.once(f"{number}.example")
    assert remembered.addresses("relay.example")
    names.known.clear()
    with pytest.raises(socket.gaierror):
        await resolve.once("relay.example")


def test_what_is_remembered_is_bounded_and_a_damaged_file_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    remembered = Remembered(file)
    for number in range(MOST + 1):
        remembered.remember(f"{number}.example", [f"192.0.2.{each}" for each in range(99)])
    stored = Remembered(file)
    assert stored.addresses("0.example") == ()
    assert len(stored.addresses(f"{MOST}.example")) == ADDRESSES
    file.write_bytes(b'{"a": [1')
    assert Remembered(file).addresses("a") == ()
    Remembered(tmp_path / "nowhere" / "names.json").remember("a", ["192.0.2.1"])
