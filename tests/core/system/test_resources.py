"""Descriptors and memory."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys

import pytest

from ghostwire.system import resources
from ghostwire.system.resources import Tide
from ghostwire.testing import simulated

ASK = """
import resource
from ghostwire.system.loop import runner
with runner():
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_program_has_all_the_descriptors_that_it_may_have() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))

    asked = subprocess.run([sys.executable, "-c", ASK], preexec_fn=few, capture_output=True, text=True, check=True)
    assert asked.stdout == "(128, 128)\n"


@simulated
async def test_memory_is_given_back_once_a_flood_has_ebbed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(resources, "give_back", lambda: given.append(1))
    tide = Tide(100)
    for count in (*range(99), *range(99, -1, -1)):
        tide.held(count)
    assert not given
    for count in (*range(401), *range(400, 100, -1)):
        tide.held(count)
    await asyncio.sleep(2)
    assert not given
    for count in range(100, -1, -1):
        tide.held(count)
    await asyncio.sleep(2)
    assert len(given) == 2  # at 100, and at 25 where that was the highest since


GIVE_BACK = """
import resource
from pathlib import Path
from ghostwire.system import resources

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

before = resident()
blocks = [bytes(60_000) for _ in range(1000)]
behind = bytes(60_000)
assert resident() > before + 40_000_000
del blocks
resources.give_back()
assert resident() < before + 20_000_000
"""


def test_free_memory_goes_back_to_the_system_though_something_lies_behind_it() -> None:
    subprocess.run([sys.executable, "-c", GIVE_BACK], check=True)  # a process whose memory no other test has used
