"""What the Linux platform's tests share: a platform without a node, ip(8), and the kit's throwaway namespaces."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ghostwire import Metrics
from ghostwire.testing import namespace
from ghostwire.testing.namespace import Work
from ghostwire_net_linux.platform import LinuxPlatform
from ghostwire_net_linux.settings import Settings

STATE = tempfile.TemporaryDirectory(prefix="ghostwire-net-linux-")
"""Where platforms keep what they remember, which is of one namespace."""


def bare_context(**settings: Any) -> Any:
    """What a platform uses of its context."""
    state = Path(STATE.name)
    return SimpleNamespace(settings=Settings(**settings), log=logging.getLogger("test"), metrics=Metrics(), state=state)


def make_platform(**settings: Any) -> LinuxPlatform:
    """A platform with these settings and nothing else around it."""
    return LinuxPlatform(bare_context(**settings))


def ip(*arguments: str) -> str:
    """Run ip(8) in the current namespace and give its output."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def in_namespace() -> Callable[[Work], None]:
    """Runs a coroutine function in a new network namespace, as its root; its failure becomes the test's."""
    return namespace.in_namespace
