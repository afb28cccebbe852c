"""A library is loaded for the first connection, and what is wrong with it then is told."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from ghostwire import Metrics, TransportContext
from ghostwire.errors import PlatformError
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire_transport_quic import library
from ghostwire_transport_quic.keyfile import load_credentials
from ghostwire_transport_quic.remote import Remote
from ghostwire_transport_quic.settings import Settings
from ghostwire_transport_quic.transport import QuicTransport

IDLE = """
import sys
from pathlib import Path
from ghostwire_transport_quic import transport
from ghostwire_transport_quic.keyfile import load_credentials
from ghostwire_transport_quic.library import Deferred
Deferred("auto", load_credentials(Path(sys.argv[1])), print)
assert not {name for name in sys.modules if name.startswith(("qh3", "aioquic", "cryptography.x509"))}
"""


def broken(name, credentials):
    raise ImportError("built for another machine")


@pytest.fixture
def make(tmp_path):
    def make(failed):
        return QuicTransport(
            TransportContext(
                settings=Settings(port=0),
                clock=SystemClock(),
                entropy=os.urandom,
                metrics=Metrics(),
                log=logging.getLogger("quic-test"),
                sockets=SystemSockets(),
                state=tmp_path,
                node_key=PrivateKey.generate().public(NodeKey),
                map=NetworkMap(),
                local_addresses=lambda: ["127.0.0.1"],
                failed=failed,
            )
        )

    return make


def test_a_node_without_connections_loads_no_library(tmp_path):
    load_credentials(tmp_path)
    subprocess.run(
        [sys.executable, "-c", IDLE, str(tmp_path)], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    )


async def test_where_no_library_is_installed_it_does_not_start(make, monkeypatch):
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    transport = make(print)
    with pytest.raises(PlatformError, match="pip install qh3"):
        await transport.start(lambda path, burst: None)
    await transport.close()


async def test_a_library_that_does_not_work_is_told_and_raises_nothing(make, monkeypatch):
    monkeypatch.setattr(library, "_load", broken)
    told: list[str] = []
    transport = make(told.append)
    await transport.start(lambda path, burst: None)
    assert transport.path(Remote(("127.0.0.1", 9), bytes(32)).text).send([b"data"]) is False
    await transport.close()
    assert len(told) == 1
    assert "built for another machine" in told[0]


async def test_a_stranger_finds_out_nothing_where_no_library_works(make, monkeypatch):
    monkeypatch.setattr(library, "_load", broken)
    told: list[str] = []
    transport = make(told.append)
    await transport.start(lambda path, burst: None)
    transport._take(("127.0.0.1", 9), [b"\xc3\0\0\0\1\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1200)])
    await transport.close()
    assert len(told) == 1
