"""Where a node is found: a URL, and the hash of the key that the one who answers there has to prove.

wss://mesh.example.com/ghostwire#HEX    a node behind a reverse proxy
#HEX                                    a node that only dials: reached over the connection that it made
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

MAX_TEXT = 256
"""Characters of an endpoint that core passes on."""

_URL = re.compile(r"(wss?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?(/[\w.~!$&'()*+,;=:@%/-]*)?", re.ASCII)
_PIN = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Url:
    """Where to connect; ``host`` is in lower case, an IPv6 address without brackets."""

    tls: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """From ``wss://host[:port][/path]``; ValueError says what was expected."""
        match = _URL.fullmatch(_lower_host(text))
        if match is None or not 0 < int(match[3] or 1) < 65_536:
            raise ValueError(f"wss://HOST[:PORT][/PATH] expected, without query or user: {text[:90]!r}")
        tls = match[1] == "wss"
        host = str(ip_address(match[2][1:-1])) if match[2].startswith("[") else match[2]
        return cls(tls, host, int(match[3] or _default(tls)), match[4] or "/")

    @property
    def private(self) -> bool:
        """Whether it leads to the machine itself or to no single machine."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host.rstrip(".").rpartition(".")[2] == "localhost"
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _default(self.tls) else f":{self.port}"
        return f"{'wss' if self.tls else 'ws'}://{host}{port}{self.path}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node: ``pin`` is the SHA-256 of its key in hex; ``url`` is None where it cannot be dialled."""

    url: Url | None
    pin: str

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """From its text; ValueError says what was expected."""
        url, mark, pin = text.rpartition("#")
        if len(text) > MAX_TEXT or not mark or not _PIN.fullmatch(pin.lower()):
            raise ValueError(f"not an endpoint (wss://HOST[:PORT][/PATH]#SHA256 expected): {text[:90]!r}")
        return cls(Url.parse(url) if url else None, pin.lower())

    def __str__(self) -> str:
        return f"{self.url or ''}#{self.pin}"


def _lower_host(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower()}{slash}{path}"


def _default(tls: bool) -> int:
    return 443 if tls else 80
