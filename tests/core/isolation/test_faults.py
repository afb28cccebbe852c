"""Whatever a stranger's plugin does wrong, in whichever call: bounded, one line, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ghostwire import Metrics
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError
from ghostwire.plugins.isolation import describe
from ghostwire.plugins.isolation.bounds import Gauges
from ghostwire.plugins.isolation.protocol import Sample
from ghostwire.plugins.isolation.watch import Limits
from ghostwire.testing.contracts.transport import Inbox

from .conftest import ECHO, hostof

pytestmark = pytest.mark.real  # most cases start two processes

PATIENCE = 30.0
QUICK = Limits(silence=2 * SECOND, idle=3 * SECOND, memory=280 << 20)


def with_line(place: str, line: str) -> str:
    """The plugin with this statement first in one of its functions."""
    head = f"def {place}("
    before, _, after = ECHO.partition(head)
    signature, newline, body = after.partition("\n")
    indent = " " * (8 if "(self" in head + signature else 4)
    return f"{before}{head}{signature}{newline}{indent}{line}\n{body}"


def children() -> set[int]:
    """Processes whose parent this one is."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                found.add(int(entry.name))
    return found


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name}:{os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return found


class Verdict:
    """What ``context.failed`` was told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._told = asyncio.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self._told.set()

    async def wait(self) -> str:
        async with asyncio.timeout(PATIENCE):
            await self._told.wait()
        (reason,) = self.reasons
        assert reason.isprintable()
        return reason


@pytest.fixture(autouse=True)
def _nothing_left() -> Any:
    gc.collect()
    before, open_before = children(), descriptors()
    yield
    gc.collect()
    assert children() <= before
    left = [each for each in descriptors() - open_before if "socket" in each or "pipe" in each or "pidfd" in each]
    assert left == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise RuntimeError('cracked')", "raised RuntimeError: cracked"),
        ("raise SystemExit(3)", "SystemExit"),
        ("os._exit(7)", "ended with status 7"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("while True: pass", "did not start within"),
    ],
    ids=["raise", "exit", "die", "killed", "spin"],
)
@pytest.mark.parametrize("place", ["__init__(self, context", "start"], ids=["create", "start"])
async def test_a_start_that_fails_is_one_line(make: Any, place: str, line: str, said: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("ghostwire.plugins.isolation.life.START", 3.0 if "while" in line else 15.0)
    source = ECHO.replace("self.context, self.socket = context, None", f"self.socket = None; {''}\n        {line}")
    source = source if place.startswith("__init__") else with_line("start", line)
    transport = make(source)
    with pytest.raises(GhostwireError) as caught:
        await transport.start(Inbox())
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    await transport.close()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('cracked')", "raised RuntimeError: cracked"),
        ("import os; os._exit(7)", "ended with status 7"),
        ("while True: pass", "did not say what it offers within 3 s"),
        ("import no_such_library", "needs the Python module no_such_library"),
        (ECHO.replace("yield Provider", "1 / 0; yield Provider"), "raised ZeroDivisionError"),
        (ECHO + "\nSettings = 7", "its Settings is not a msgspec Struct"),
        ("x = bytearray(1 << 40)", "MemoryError"),
        ("while True: print('x' * 1000)", "did not say what it offers within 3 s"),
    ],
    ids=["raise", "die", "spin", "lack", "hook", "settings", "leak", "flood"],
)
def test_an_import_that_fails_is_one_line_in_the_daemon(install: Any, monkeypatch: Any, source: str, said: str) -> None:
    monkeypatch.setattr(describe.describe, "__defaults__", (3.0 if "while" in source else 15.0,))
    install("pigeon", source)
    with pytest.raises(GhostwireError) as caught:
        hostof()
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_wrong_settings_name_file_and_line(install: Any) -> None:
    install("pigeon", ECHO)
    with pytest.raises(GhostwireError, match=r"gw.toml:2: plugin.pigeon.loft: unknown setting"):
        hostof("loft = 1")


def test_the_daemon_never_imports_the_plugin(install: Any, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    install("pigeon", f"open({str(mark)!r}, 'w').close()\n" + ECHO)
    with pytest.raises(GhostwireError, match="PermissionError"):
        hostof()
    assert not mark.exists()
    assert not [name for name in sys.modules if "pigeon" in name]


def test_a_stranger_is_never_preferred_to_udp_and_is_shown_as_isolated(install: Any) -> None:
    install("pigeon", ECHO)
    host = hostof()
    (offer,) = [offer for offer in host.offers("ghostwire_transports") if offer.plugin == "pigeon"]
    assert offer.isolated
    assert offer.order[0] == 1
    assert [info.isolated for info in host.report() if info.name == "pigeon"] == [True]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("os._exit(7)", "ended with status 7"),
        ("while True: pass", "hangs"),
        ("raise ValueError('cracked')", "send raised ValueError: cracked (third_party_pigeon_pigeon.py:"),
        ("self.hoard = getattr(self, 'hoard', None) or [bytearray(1 << 20) for _ in range(300)]", "memory"),
        ("self.context.failed('feathers\\nlost')", "feathers lost"),
        ("__import__('threading').Thread(target=spin, daemon=True).start()", "burnt the processor"),
    ],
    ids=["die", "hang", "raise", "leak", "give-up", "burn"],
)
async def test_what_goes_wrong_while_it_runs_is_told_once(make: Any, line: str, said: str) -> None:
    told = Verdict()
    source = ECHO.replace("return self.owner.send(", "return self.owner.hurt() or self.owner.send(")
    source = source.replace("    def endpoints", f"    def hurt(self):\n        {line}\n    def endpoints")
    transport = make(source + "\ndef spin():\n    while True: pass\n", failed=told)
    transport._limits = QUICK
    await transport.start(Inbox())
    path = transport.path("127.0.0.1:9")
    for number in range(1 if "spin" in line else 40):
        path.send([bytes([number])])
    assert said in await told.wait()
    assert path.send([b"late"]) is False
    assert transport.pid == 0
    await transport.close()
    assert len(told.reasons) == 1


@pytest.mark.parametrize("line", ["await asyncio.sleep(60)", "while True: pass", "os._exit(7)", "1 / 0"])
async def test_a_close_is_bounded_whatever_it_does(make: Any, line: str) -> None:
    told = Verdict()
    transport = make(with_line("close", line), failed=told)
    await transport.start(Inbox())
    async with asyncio.timeout(10):
        await transport.close()
    assert told.reasons == []


FLOODS = {
    "sockets": "self.hoard = list(hoard(self.context, 400))",
    "logs": "[self.context.log.error('x' * 9999) for _ in range(5000)]",
    "prints": "[print('y' * 500) for _ in range(2000)]",
    "metrics": "[self.context.metrics.gauge(f'm{n}', 'h' * 999, lambda: 1.0) for n in range(5000)]",
    "endpoints": "self.endpoints = lambda: ['z' * 9999] * 9999",
    "paths": "[self.receive(LoopPath(self, (f'10.0.{n >> 8}.{n & 255}', 7)), [b'x']) for n in range(9000)]",
}


HOARD = """
def hoard(context, count):
    for _ in range(count):
        try:
            yield context.sockets.udp("127.0.0.1", 0)
        except Exception:
            pass
"""


def test_metrics_are_finite_numbers_under_the_plugins_own_names() -> None:
    metrics = Metrics()
    metrics.counter("ghostwire_node_sent_total", "Core's own.", lambda: 7)
    gauges = Gauges("pigeon", metrics)
    values = {"ghostwire_node_sent_total": 1.0, "a": math.nan, "b": math.inf, "\n# x": 2.0}
    gauges.measured([Sample(name, "help\nme", False, value) for name, value in values.items()])
    own = "ghostwire_plugin_pigeon_"
    assert metrics.values() == {
        "ghostwire_node_sent_total": 7,
        f"{own}ghostwire_node_sent_total": 1,
        f"{own}a": 0,
        f"{own}b": 0,
        f"{own}x": 2,
    }
    assert all(metric.help.isprintable() for metric in metrics)


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_bounded_and_the_transport_goes_on(make: Any, flood: str, caplog: Any) -> None:
    told, inbox = Verdict(), Inbox()
    transport = make(with_line("path", f"if endpoint == 'flood:1': {FLOODS[flood]}") + HOARD, failed=told)
    await transport.start(inbox)
    own = transport.endpoints()[0]
    transport.path("flood:1").send([b"go"])
    for number in range(100):
        transport.path(own).send([b"to myself", bytes([number])])
        await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE):
        while b"to myself" not in inbox.datagrams:
            transport.path(own).send([b"to myself"])
            await asyncio.sleep(0.05)
    assert told.reasons == []
    assert len(caplog.records) < 100
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)
    assert len(list(transport._context.metrics)) <= 64 + 1  # the drops that isolation counts itself
    assert len(transport.endpoints()) <= 16
    assert len(descriptors()) < 100
    await transport.close()
    assert list(transport._context.metrics) == []
