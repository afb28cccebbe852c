"""A stranger's transport in its own process keeps the rules of every transport."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from ghostwire import Transport
from ghostwire.testing.contracts.transport import TransportContract


@pytest.mark.real
class TestIsolated(TransportContract):
    """Over real loopback sockets that the daemon passed."""

    cannot: ClassVar = {
        "an_endpoint_that_makes_no_sense_is_a_value_error": "the child says later, and sends answer False"
    }

    @pytest.fixture(autouse=True)
    def _isolated(self, make: Any) -> None:
        self.build = make

    async def make(self) -> Transport:
        return self.build()
