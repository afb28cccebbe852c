"""The Linux platform keeps the promises of every platform, in a namespace of its own."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ghostwire import Platform
from ghostwire.testing.conformance.linux import Kernel
from ghostwire.testing.contracts import PlatformContract, System
from ghostwire.testing.namespace import in_namespace

from .conftest import make_platform

pytestmark = pytest.mark.lab


class TestLinuxPlatform(PlatformContract):
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        in_namespace(main)

    async def make(self) -> tuple[Platform, System]:
        return make_platform(), Kernel()
