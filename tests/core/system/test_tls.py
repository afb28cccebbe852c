"""TLS towards relays: pins and roots."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ghostwire.errors import AuthenticationFailed, Unavailable
from ghostwire.frontdoor.certificate import server_context
from ghostwire.model import MapRelay
from ghostwire.system.sockets import SystemSockets
from ghostwire.system.tls import check_relay, relay_tls, system_roots, untrusted


def relay(**fields: Any) -> MapRelay:
    return MapRelay(id=1, name="r1", region=1, region_name="one", host="relay.example", **fields)


@pytest_asyncio.fixture
async def port(pair: tuple[Path, Path]) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context(*pair))
    yield server.sockets[0].getsockname()[1]
    server.close()


async def reach(port: int, known: MapRelay) -> None:
    transport, _ = await SystemSockets().connect(
        asyncio.Protocol, "127.0.0.1", port, tls=relay_tls(known), server_name=known.host
    )
    try:
        check_relay(transport, known)
    finally:
        transport.abort()


def der(pair: tuple[Path, Path]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair[0].read_text())


async def test_the_pinned_certificate_is_accepted(port: int, pair: tuple[Path, Path]) -> None:
    digest = hashlib.sha256(der(pair)).hexdigest()
    await reach(port, relay(certificate=digest))
    await reach(port, relay(certificate=digest.upper()))


@pytest.mark.parametrize("pin", ["0" * 64, "00", "sha256", "ä"])
async def test_every_other_is_refused(port: int, pin: str) -> None:
    with pytest.raises(AuthenticationFailed, match=r"relay r1 \(relay\.example:443\) does not show the certificate"):
        await reach(port, relay(certificate=pin))


async def test_without_a_pin_the_roots_decide(port: int) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate") as caught:
        await reach(port, relay())
    said = untrusted(relay(), caught.value)
    assert isinstance(said, AuthenticationFailed)
    assert str(said) == "relay r1 (relay.example:443): its certificate is not trusted (self-signed certificate)"


def test_what_else_fails_in_tls_may_pass() -> None:
    said = untrusted(relay(), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"))
    assert isinstance(said, Unavailable)
    assert str(said).startswith("relay r1 (relay.example:443): TLS failed (")


async def test_a_root_that_is_trusted_and_a_name_that_fits_are_enough(
    port: int, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = system_roots.__wrapped__()
    monkeypatch.setattr("ghostwire.system.tls.system_roots", lambda: context)
    context.load_verify_locations(pair[0])
    await reach(port, relay())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await SystemSockets().connect(asyncio.Protocol, "127.0.0.1", port, tls=context, server_name="other.example")


async def test_a_pin_is_not_satisfied_without_tls() -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    transport, _ = await SystemSockets().connect(asyncio.Protocol, *server.sockets[0].getsockname())
    with pytest.raises(AuthenticationFailed):
        check_relay(transport, relay(certificate="00" * 32))
    check_relay(transport, relay(certificate="00" * 32, tls=False))
    transport.abort()
    server.close()


def test_contexts_are_shared_and_modern() -> None:
    pinned, rooted = relay_tls(relay(certificate="00" * 32)), relay_tls(relay())
    assert pinned is relay_tls(relay(certificate="11" * 32))
    assert rooted is relay_tls(relay())
    assert rooted is not None
    assert (rooted.verify_mode, rooted.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert {context.minimum_version for context in (pinned, rooted) if context} == {ssl.TLSVersion.TLSv1_2}
    assert relay_tls(relay(tls=False)) is None
