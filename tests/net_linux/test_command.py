"""Programs that configure the machine end, and are waited for, whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ghostwire import NetworkConfig
from ghostwire.errors import PlatformError
from ghostwire_net_linux import command

from .conftest import ip, make_platform


@pytest.fixture
def program(tmp_path, monkeypatch):
    """``program(lines)`` stands in for nft."""

    def make(lines: str) -> Path:
        path: Path = tmp_path / "nft"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        monkeypatch.setattr(command, "nft_path", lambda: str(path))
        return path

    return make


def children() -> set[str]:
    return set("".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split())


@pytest.fixture(autouse=True)
def others():
    """Children that other tests of this process have: none but those may be there at the end."""
    before = children()
    yield before
    assert children() <= before


ENDLESS = pytest.mark.parametrize("endless", ["exec sleep 600", "exec yes"])


@ENDLESS
async def test_a_program_that_never_ends_is_given_up(program, monkeypatch, endless):
    monkeypatch.setattr(command, "TIMEOUT", 0.2)
    program(endless)
    with pytest.raises(PlatformError, match=r"^nft: configuring took over"):
        await command.nft(("list", "tables"))


@ENDLESS
@pytest.mark.parametrize("patience", [0, 0.05])
async def test_a_program_that_nobody_waits_for_any_more_is_killed_and_gone(program, endless, patience):
    program(endless)
    running = asyncio.ensure_future(command.nft(("list", "tables")))
    await asyncio.sleep(patience)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_what_a_program_answers_and_what_it_complains_of_come_back(program):
    program('read given; echo "$given"')
    assert await command.nft(("-f", "-"), [{"list": {"tables": None}}]) == b'{"nftables":[{"list":{"tables":null}}]}\n'
    program("echo 'Error: syntax' >&2; echo ^^^ >&2; exit 1")
    with pytest.raises(PlatformError, match=r"^nft cannot change the firewall: Error: syntax$"):
        await command.nft(("-f", "-"))


async def test_a_program_that_cannot_be_run_is_an_error_in_one_line(program):
    path = program("")
    path.chmod(0o644)
    with pytest.raises(PlatformError, match=r"^nft: .*/nft cannot be run: Permission denied$"):
        await command.nft(("list", "tables"))


@pytest.mark.lab
def test_configuring_may_be_cancelled_at_any_moment(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        wanted = NetworkConfig("gwt0", 1280, ("100.64.0.2/32",), ("100.64.0.0/16", "0.0.0.0/0"), isolated=True)
        for moment in (0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4):
            configuring = asyncio.ensure_future(platform.configure(wanted))
            await asyncio.sleep(moment)
            configuring.cancel()
            await asyncio.wait([configuring], timeout=5)
            assert configuring.done(), f"cancelled after {moment} s, it goes on"
            assert not children()
        await platform.configure(wanted)
        await platform.restore()
        device.close()
        assert "lookup 52" not in ip("rule")
        assert "proto 71" not in ip("route", "show", "table", "all")

    in_namespace(work)
