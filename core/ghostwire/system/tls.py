"""TLS towards others: the system's roots decide, or the one certificate that the map pins, or a handshake inside it."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from functools import cache
from typing import TYPE_CHECKING

from ghostwire.errors import AuthenticationFailed, GhostwireError, Unavailable

if TYPE_CHECKING:
    import asyncio

    from ghostwire.model import MapRelay


def relay_tls(relay: MapRelay) -> ssl.SSLContext | None:
    """The context to reach this relay with; None where it has no TLS. Call `check_relay` once connected.

    Contexts are shared: all pinned relays have one, all others another.
    """
    if not relay.tls:
        return None
    return unverified() if relay.certificate else system_roots()


def check_relay(transport: asyncio.Transport, relay: MapRelay) -> None:
    """AuthenticationFailed unless the relay at the other end showed the certificate that the map pins, if it does.

    Nothing is to be sent before. Whether the one who was reached holds the relay's key is DERP's to find out.
    """
    if not relay.tls or not relay.certificate:
        return
    tls = transport.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True) if tls is not None else None
    digest = hashlib.sha256(shown or b"").hexdigest()
    if not shown or not hmac.compare_digest(digest.encode(), relay.certificate.lower().encode()):
        raise AuthenticationFailed(
            f"relay {relay.name} ({relay.host}:{relay.port}) does not show the certificate that the map pins: "
            "someone is in between, or its certificate changed and the server was not told",
            "relay-certificate",
        )


def untrusted(relay: MapRelay, error: ssl.SSLError) -> GhostwireError:
    """What to raise where TLS with this relay failed by ``error``: AuthenticationFailed or Unavailable."""
    where = f"relay {relay.name} ({relay.host}:{relay.port})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return AuthenticationFailed(f"{where}: its certificate is not trusted ({error.verify_message})")
    return Unavailable(f"{where}: TLS failed ({getattr(error, 'reason', None) or error})")


@cache
def system_roots() -> ssl.SSLContext:
    """For a host whose certificate the system's roots vouch for."""
    return _modern(ssl.create_default_context())


@cache
def unverified() -> ssl.SSLContext:
    """Accepts any certificate: for whoever compares it (`check_relay`), or has a handshake of his own inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return _modern(context)


def _modern(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
