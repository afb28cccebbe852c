"""Over TLS on loopback, through a proxy that ends it: what a reverse proxy does."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing.contracts.transport import Inbox
from ghostwire_websocket.settings import Settings


@pytest.fixture
def certificate(tmp_path):
    """(file, PEM text) of a certificate for 127.0.0.1 that is its own authority; the key is in the file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proxy")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder = tmp_path / "proxy"
    folder.mkdir()
    (folder / "both.pem").write_bytes(pem + secret)
    return folder / "both.pem", pem.decode()


class Proxy:
    """Ends TLS and passes bytes on to ``target``, once that is known."""

    def __init__(self, file):
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(file)
        self.target, self.writers = 0, []

    async def start(self, port=0):
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    async def _carry(self, reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers += writer, inner_writer
        await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))


async def _pass(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_it_works_through_tls_and_survives_the_proxys_restart(make, certificate):
    file, authorities = certificate
    proxy = Proxy(file)
    await proxy.start()
    sockets, clock, inbox = SystemSockets(), SystemClock(), Inbox()
    b = make(
        sockets, clock, Settings(listen="127.0.0.1:0", url=f"wss://127.0.0.1:{proxy.port}/gw", plain=True), name="b"
    )
    a = make(sockets, clock, Settings(authorities=authorities, plain=True), name="a")
    stranger = make(sockets, clock, Settings(plain=True), name="stranger")
    for transport, received in ((a, Inbox()), (b, inbox), (stranger, Inbox())):
        await transport.start(received)
    try:
        proxy.target = b._listening.port
        there = a.path(b.endpoints()[0])
        assert there.send([b"one"])
        async with asyncio.timeout(20):
            await inbox.count(1)
        await proxy.stop()
        await proxy.start(proxy.port)
        async with asyncio.timeout(20):
            while len(inbox.datagrams) < 2:
                there.send([b"two"])
                await asyncio.sleep(0.05)
        stranger.path(b.endpoints()[0]).send([b"no such authority"])
        async with asyncio.timeout(20):
            while not stranger.counters.failures:
                await asyncio.sleep(0.01)
        assert set(inbox.datagrams) == {b"one", b"two"}
    finally:
        for transport in (a, b, stranger):
            await transport.close()
        await proxy.stop()


async def test_authorities_that_are_none_are_said(make):
    from ghostwire.errors import ConfigError
    from ghostwire_websocket.dialler import tls_context

    with pytest.raises(ConfigError, match="authorities"):
        tls_context("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
