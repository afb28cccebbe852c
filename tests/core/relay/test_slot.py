"""One worker's place: what keeps a process from being there is said, and tried again."""

from __future__ import annotations

import os

import pytest

from ghostwire.errors import PlatformError
from ghostwire.relay import slot
from ghostwire.relay.slot import Slot
from ghostwire.testing import ManualClock


async def test_a_process_that_cannot_be_started_is_an_error_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "COMMAND", ("/nowhere/python",))
    made = Slot(0, lambda: (), lambda port: None, ManualClock(), os.urandom)
    with pytest.raises(PlatformError, match="no process can be started: No such file"):
        await made.start()
    assert made.pid == 0
