"""What the command line says of a mesh without a server: other relays, and the key that they share."""

from __future__ import annotations

import re
from pathlib import Path

from ghostwire.errors import StateError, UsageError
from ghostwire.model import MapRelay

PORT = 3478
_SIBLING = re.compile(
    r"(?P<scheme>https?://)?(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/#\[\]]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?:#(?P<pin>[0-9a-fA-F]{64}))?"
)


def parse_sibling(text: str, number: int) -> MapRelay:
    """``[http://]HOST[:PORT][#CERTIFICATE]``, the certificate being its SHA-256 in hex; UsageError says what is wrong.

    Without a certificate the system's roots decide. ``number`` makes an id that no server gives.
    """
    parts = _SIBLING.fullmatch(text)
    if parts is None or not 0 < int(parts["port"] or PORT) <= 65535:
        raise UsageError(f"--mesh-with {text}: expected HOST[:PORT], for instance relay2.example.com:{PORT}")
    host = parts["v6"] or parts["host"]
    return MapRelay(
        id=-number,
        name=f"{host}:{parts['port'] or PORT}",
        region=0,
        region_name="",
        host=host,
        port=int(parts["port"] or PORT),
        tls=parts["scheme"] != "http://",
        certificate=(parts["pin"] or "").lower(),
    )


def read_mesh_key(path: Path) -> bytes:
    """The 32 bytes in a file of 64 hex digits, as derper's; StateError where it is something else or open to others."""
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        raise StateError(f"{path}: cannot read the mesh key: {getattr(error, 'strerror', error)}") from None
    if mode & 0o077:
        raise StateError(f"{path}: others may read this mesh key; run: chmod 600 {path}")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise StateError(f"{path}: not a mesh key (64 hex digits expected); make one with: openssl rand -hex 32")
    return bytes.fromhex(text)
