"""A server's URL, as join tokens and ghostwire.toml have it."""

from __future__ import annotations

from typing import NamedTuple, Self
from urllib.parse import urlsplit

EXPECTED = "http(s)://host[:port]"
MAX_URL = 1024
_PORTS = {"http": 80, "https": 443}


class ServerUrl(NamedTuple):
    """Where a server listens. ``prefix`` is a path in front of its own ones, without a slash at the end."""

    tls: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """From ``http(s)://host[:port][/prefix]``; ValueError where it is anything else."""
        if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"expected {EXPECTED}")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not _is_host(parts.hostname or "") or parts.port == 0:
            raise ValueError(f"expected {EXPECTED}")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"expected {EXPECTED}, and nothing more")
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme == "https", parts.hostname or "", port, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _is_host(name: str) -> bool:
    """Whether a resolver takes it: 1 to 63 characters between dots."""
    return all(0 < len(label) < 64 for label in name.removesuffix(".").split("."))
