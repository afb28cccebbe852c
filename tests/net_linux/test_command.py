"""Programs that configure the machine end, and are waited for, whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ghostwire.errors import PlatformError
from ghostwire_net_linux import command


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


def children() -> str:
    return "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))


ENDLESS = pytest.mark.parametrize("endless", ["exec sleep 600", "exec yes"])


@ENDLESS
async def test_a_program_that_never_ends_is_given_up(program, monkeypatch, endless):
    monkeypatch.setattr(command, "TIMEOUT", 0.2)
    program(endless)
    with pytest.raises(PlatformError, match=r"^nft: configuring took over"):
        await command.nft(("list", "tables"))
    assert not children()


@ENDLESS
@pytest.mark.parametrize("patience", [0, 0.05])
async def test_a_program_that_nobody_waits_for_any_more_is_killed_and_gone(program, endless, patience):
    program(endless)
    running = asyncio.ensure_future(command.nft(("list", "tables")))
    await asyncio.sleep(patience)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not children()


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
