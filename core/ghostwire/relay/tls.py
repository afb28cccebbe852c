"""A relay's certificate: given or made by itself, and made anew once the relay learns how nodes call it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from ghostwire.config import RelayConfig, split_listen
from ghostwire.frontdoor import certificate

ANYWHERE = ("0.0.0.0", "::", "")


class RelayTls:
    """The front door's TLS context. ``pin`` is what nodes go by: SHA-256 of the certificate in hex, or empty where
    its issuer vouches for it. ``now`` gives Unix seconds."""

    def __init__(self, config: RelayConfig, folder: Path, now: Callable[[], int]) -> None:
        self._folder, self._now = folder, now
        self._names = {name_of(config.listen), socket.gethostname(), "localhost", "127.0.0.1"}
        given = certificate.given_pair(config.certificate, config.certificate_key, "relay")
        self._given = given is not None
        self._pair = given or certificate.ensure_certificate(folder, self._names, now())
        self.context = certificate.server_context(*self._pair, "relay")

    @property
    def pin(self) -> str:
        """SHA-256 of the certificate (DER) in hex where it is self-signed, else empty."""
        return certificate.fingerprint(self._pair[0], "relay")

    def cover(self, host: str) -> bool:
        """Have the certificate name ``host``, by which nodes know the relay; whether it was made anew for that.

        The running door shows the new one from its next handshake on.
        """
        if self._given or certificate.covers(self._pair[0], host):
            return False
        certificate.renew_certificate(self._folder, {*self._names, host}, self._now())
        self.reload()
        return True

    def is_strange(self, host: str) -> bool:
        """Whether clients that know the relay as ``host`` will not accept its certificate: its issuer vouches for
        others."""
        return not self.pin and not certificate.covers(self._pair[0], host)

    def reload(self) -> None:
        """Show the certificate as it is on disk from now on."""
        self.context.load_cert_chain(*self._pair)


def name_of(listen: str) -> str:
    """The host's part of a URL: what it listens on, or the machine's name."""
    name = split_listen(listen)[0]
    return socket.gethostname() if name in ANYWHERE else f"[{name}]" if ":" in name else name
