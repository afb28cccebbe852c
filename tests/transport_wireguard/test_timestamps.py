"""Handshake timestamps that never go back."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, StateError
from ghostwire.testing.clock import WALL, ManualClock
from ghostwire_transport_wireguard import timestamps
from ghostwire_transport_wireguard.timestamps import AHEAD, Timestamps

LOG = logging.getLogger("test")
HOUR = 3_600 * SECOND


def make(folder: Path, clock: ManualClock) -> Timestamps:
    return Timestamps(folder / "stamp", clock.wall, LOG)


def test_a_stamp_is_the_wall_clock_as_tai64n_with_its_nanoseconds_cut(tmp_path: Path) -> None:
    stamp = make(tmp_path, ManualClock(wall=WALL + 123_456_789))()
    seconds, nanoseconds = struct.unpack(">QI", stamp)
    assert seconds == (1 << 62) + 10 + WALL // SECOND
    assert nanoseconds % (1 << 24) == 0
    assert 0 <= 123_456_789 - nanoseconds < 1 << 24


@given(st.lists(st.sampled_from(["stamp", "crash", "close", "+1h", "-1h", "+30y", "-30y", "1s"]), max_size=40))
def test_stamps_rise_across_crashes_restarts_and_clock_jumps(tmp_path_factory: pytest.TempPathFactory, steps) -> None:
    folder, clock = tmp_path_factory.mktemp("stamps"), ManualClock()
    stamps, last = make(folder, clock), b""
    for step in steps:
        match step:
            case "crash":
                stamps = make(folder, clock)
            case "close":
                stamps.close()
                stamps = make(folder, clock)
            case "stamp":
                following = stamps()
                assert following > last
                last = following
            case "1s":
                clock.advance(SECOND)
            case jump:
                amount = HOUR if jump.endswith("h") else 30 * 365 * 24 * HOUR
                clock.jump_wall(amount if jump[0] == "+" else -amount)


def test_a_handshake_costs_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, writes = ManualClock(), []
    monkeypatch.setattr(timestamps, "write_private", lambda path, content: writes.append(content))
    stamps = make(tmp_path, clock)
    stamps.open()
    for _ in range(1_000):
        stamps()
        clock.advance(60 * SECOND)
    assert len(writes) == 1
    clock.advance(AHEAD)
    stamps()
    assert len(writes) == 2


def test_stamps_follow_the_wall_again_after_a_clean_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    stamps = make(tmp_path, clock)
    stamps()
    stamps.close()
    clock.advance(SECOND)
    seconds, _ = struct.unpack(">QI", make(tmp_path, clock)())
    assert seconds == (1 << 62) + 10 + clock.wall() // SECOND


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "stamp").write_bytes(b"\xff\xfe")
    with pytest.raises(StateError, match=r"stamp: .*remove it"):
        make(tmp_path, ManualClock()).open()


def test_a_folder_that_cannot_be_written_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(GhostwireError, match="cannot write"):
        make(tmp_path / "missing", ManualClock()).open()


def test_a_disk_that_fails_later_is_said_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise StateError("disk full")

    clock = ManualClock()
    stamps = make(tmp_path, clock)
    first = stamps()
    monkeypatch.setattr(timestamps, "write_private", full)
    clock.advance(2 * AHEAD)
    assert first < stamps() < stamps()
    assert [record.getMessage() for record in caplog.records] == [
        "handshake timestamps may repeat after a crash: disk full"
    ]
