"""Opens the streams that sessions dial over."""

from __future__ import annotations

import ssl

from ghostwire import TransportContext
from ghostwire.errors import ConfigError, Unavailable
from ghostwire_websocket.connection import Connection, Owner
from ghostwire_websocket.endpoint import Endpoint
from ghostwire_websocket.identity import Identity
from ghostwire_websocket.session import Dialling


class Dialler:
    """Dials in the name of ``own``."""

    def __init__(self, context: TransportContext, own: Endpoint, key: Identity) -> None:
        self._context, self._own, self._key = context, own, key
        self._tls: ssl.SSLContext | None = None

    async def dial(self, target: Endpoint, owner: Owner) -> Connection:
        """A connection that shakes hands; Unavailable where no stream, or no TLS, can be had."""
        context, url = self._context, target.url
        if url is None:
            raise Unavailable("it can only be reached over a connection of its own")

        def make() -> Connection:
            now = context.clock.now()
            return Connection(Dialling(target, url, self._own, self._key, context.entropy, now), owner, context.clock)

        try:
            _, connection = await context.sockets.connect(
                make, url.host, url.port, tls=self._secured() if url.tls else None, server_name=url.host
            )
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(f"its certificate is not trusted ({error.verify_message})") from error
        except OSError as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        return connection

    def _secured(self) -> ssl.SSLContext:
        """The system's authorities, or those of the settings alone."""
        if self._tls is None:
            self._tls = tls_context(self._context.settings.authorities)
        return self._tls


def tls_context(authorities: str) -> ssl.SSLContext:
    """For these authorities (PEM; empty for the system's); ConfigError where they are none."""
    try:
        made = ssl.create_default_context(cadata=authorities or None)
    except ssl.SSLError as error:
        raise ConfigError(f"not certificates in PEM ({error.reason})", key="plugin.websocket.authorities") from error
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    return made
