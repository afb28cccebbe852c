"""Port, certificate and what leaves the machine."""

from __future__ import annotations

import logging
import os
import socket
import stat
from types import SimpleNamespace

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from ghostwire import Metrics
from ghostwire.errors import PlatformError
from ghostwire.system.clock import SystemClock
from ghostwire_transport_quic import transport as module
from ghostwire_transport_quic.certificate import check, make_pem
from ghostwire_transport_quic.keyfile import load_credentials
from ghostwire_transport_quic.settings import Settings
from ghostwire_transport_quic.transport import QuicTransport


class LoopbackSockets:
    def udp(self, host, port):
        six = ":" in host
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.bind(("::1" if six else "127.0.0.1", port))
        except OSError as error:
            made.close()
            raise PlatformError(f"UDP port {port} is in use") from error
        return made


@pytest.fixture
def make(tmp_path):
    def make(**fields):
        return QuicTransport(
            SimpleNamespace(
                settings=Settings(**fields),
                sockets=LoopbackSockets(),
                metrics=Metrics(),
                clock=SystemClock(),
                entropy=os.urandom,
                log=logging.getLogger("quic-test"),
                failed=print,
                state=tmp_path,
                local_addresses=lambda: ["127.0.0.1", "::1"],
            )
        )

    return make


@pytest.fixture
def taken():
    with LoopbackSockets().udp("0.0.0.0", 0) as bound:
        yield bound.getsockname()[1]


async def test_the_usual_port_in_use_gives_way_to_any_other_with_one_line_in_the_log(make, taken, monkeypatch, caplog):
    monkeypatch.setattr(module, "PORT", taken)
    caplog.set_level(logging.INFO)
    transport = make()
    await transport.start(lambda path, burst: None)
    assert f"127.0.0.1:{taken}#" not in transport.endpoints()[0]
    assert len([record for record in caplog.records if str(taken) in record.getMessage()]) == 1
    await transport.close()


async def test_the_operators_port_in_use_refuses_to_start(make, taken):
    transport = make(port=taken)
    with pytest.raises(PlatformError, match=str(taken)):
        await transport.start(lambda path, burst: None)
    await transport.close()


async def test_packets_too_small_for_the_mesh_refuse_to_start(make, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1311)
    with pytest.raises(PlatformError, match="1312"):
        await make(port=0).start(lambda path, burst: None)


def test_the_certificate_is_made_once_and_nobody_else_can_read_it(tmp_path):
    first, again = load_credentials(tmp_path), load_credentials(tmp_path)
    assert first == again
    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_spoilt_certificate_is_told_in_one_line(tmp_path):
    load_credentials(tmp_path)
    (tmp_path / "quic.pem").write_bytes(b"nonsense")
    with pytest.raises(PlatformError, match=r"quic\.pem"):
        load_credentials(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path):
    load_credentials(tmp_path)
    (tmp_path / "quic.pem").chmod(0o640)
    with pytest.raises(PlatformError, match="chmod 600"):
        load_credentials(tmp_path)


@pytest.mark.parametrize("kind", ["of another kind", "of another certificate", "cut short"])
def test_a_wrong_key_is_told_in_one_line(tmp_path, kind):
    load_credentials(tmp_path)
    file = tmp_path / "quic.pem"
    certificate = file.read_bytes()[: file.read_bytes().index(b"-----BEGIN PUBLIC")]
    public = file.read_bytes()[len(certificate) :].partition(b"-----BEGIN PRIVATE")[0]
    other = make_pem().partition(b"-----BEGIN PRIVATE")
    other = other[1] + other[2]
    if kind == "of another kind":
        form = serialization.PrivateFormat.PKCS8
        private = ed25519.Ed25519PrivateKey.generate()
        other = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    file.write_bytes(certificate + public + (other[:60] if kind == "cut short" else other))
    with pytest.raises(PlatformError, match=r"quic\.pem is spoilt") as told:
        check(load_credentials(tmp_path))
    assert "\n" not in str(told.value)


def test_a_folder_that_takes_no_file_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError, match="writable"):
        load_credentials(tmp_path / "file")


async def test_an_endpoint_tells_address_port_and_pin(make, tmp_path):
    transport = make(port=0)
    await transport.start(lambda path, burst: None)
    pin = load_credentials(tmp_path).pin.hex()
    assert [text.partition("#")[2] for text in transport.endpoints()] == [pin] * len(transport.endpoints())
    assert transport.path(transport.endpoints()[0]).endpoint == transport.endpoints()[0]
    await transport.close()
    assert list(transport.endpoints()) == []


async def test_endpoints_that_the_operator_names_come_first_with_the_pin(make, tmp_path):
    transport = make(port=0, endpoints=("203.0.113.7:443",))
    await transport.start(lambda path, burst: None)
    assert transport.endpoints()[0] == f"203.0.113.7:443#{load_credentials(tmp_path).pin.hex()}"
    assert len(transport.endpoints()) > 1
    await transport.close()


def test_an_endpoint_that_is_none_is_told_with_the_setting():
    with pytest.raises(msgspec.ValidationError, match="not an endpoint"):
        msgspec.convert({"endpoints": ["example.com:443"]}, Settings)


async def test_metrics_have_the_names_of_the_transport(make):
    transport = make(port=0)
    names = set(transport._context.metrics.values())
    assert {name.startswith("ghostwire_quic_") for name in names} == {True}
    assert "ghostwire_quic_dropped_oldest_total" in names
