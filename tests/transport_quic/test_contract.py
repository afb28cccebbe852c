"""The contract of transports, kept over loopback by both libraries."""

from __future__ import annotations

import itertools
import logging
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from ghostwire import Metrics, Transport
from ghostwire.errors import PlatformError
from ghostwire.system.clock import SystemClock
from ghostwire.testing.contracts import TransportContract
from ghostwire_transport_quic.settings import Settings
from ghostwire_transport_quic.transport import QuicTransport


class LoopbackSockets:
    def udp(self, host: str, port: int) -> socket.socket:
        six = ":" in host
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.bind(("::1" if six else "127.0.0.1", port))
        except OSError as error:
            made.close()
            raise PlatformError(f"UDP port {port} is in use") from error
        return made


class QuicContract(TransportContract):
    library: str

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder, self.numbers = tmp_path, itertools.count()

    async def make(self) -> Transport:
        state = self.folder / str(next(self.numbers))
        state.mkdir()
        return QuicTransport(
            SimpleNamespace(
                settings=Settings(port=0, library=self.library),
                sockets=LoopbackSockets(),
                metrics=Metrics(),
                clock=SystemClock(),
                entropy=os.urandom,
                log=logging.getLogger("test"),
                failed=print,
                state=state,
                local_addresses=lambda: ["127.0.0.1", "::1"],
            )
        )


class TestAioquic(QuicContract):
    library = "aioquic"


class TestQh3(QuicContract):
    library = "qh3"


del QuicContract, TransportContract
