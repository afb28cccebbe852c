"""The file of a node's own certificate and keys: made once, kept in the state folder, read without a library."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ghostwire.errors import PlatformError

FILE = "quic.pem"
PATIENCE = 5.0
"""Seconds that making a certificate in a process of its own may take."""
_MAKE = "import sys; from ghostwire_transport_quic.certificate import make_pem; sys.stdout.buffer.write(make_pem())"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s+([A-Za-z0-9+/=\s]+)-----END \1-----\n")
_BLOCKS = [b"CERTIFICATE", b"PUBLIC KEY", b"PRIVATE KEY"]


class Credentials(NamedTuple):
    """PEM texts of the certificate and of its private key, the pin that endpoints carry, and where they are kept."""

    certificate: bytes
    key: bytes
    pin: bytes
    path: Path

    def spoilt(self, reason: str) -> PlatformError:
        """What to raise where they are of no use."""
        return _spoilt(self.path, reason)


def load_credentials(folder: Path) -> Credentials:
    """Those of this state folder, made where there are none; PlatformError where they cannot be kept or read.

    Whether they are good for a handshake is seen by `certificate.check`.
    """
    path = folder / FILE
    try:
        if not path.exists():
            _make(path)
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}: it must be readable, its folder writable") from error
    if mode & 0o077:
        raise PlatformError(f"{path} is readable by others: chmod 600 {path}")
    return _parse(path, content)


def _make(path: Path) -> None:
    """Whole or not at all, and readable by nobody else at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_new_pem())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _new_pem() -> bytes:
    """Made by a program of its own where there may be one: what making it loads would stay here, and is 14 MB."""
    try:
        made = subprocess.run([sys.executable, "-I", "-c", _MAKE], capture_output=True, timeout=PATIENCE, check=True)
        return made.stdout
    except (OSError, subprocess.SubprocessError):
        from ghostwire_transport_quic.certificate import make_pem

        return make_pem()


def _parse(path: Path, content: bytes) -> Credentials:
    found = list(_BLOCK.finditer(content))
    if [block[1] for block in found] != _BLOCKS:
        raise _spoilt(path, "a certificate, a public and a private key are expected")
    certificate, public, private = found
    try:
        pin = hashlib.sha256(base64.b64decode(public[2])).digest()
    except ValueError as error:
        raise _spoilt(path, str(error)) from error
    return Credentials(certificate[0], private[0], pin, path)


def _spoilt(path: Path, reason: str) -> PlatformError:
    line = " ".join(reason.split())[:120]
    return PlatformError(f"{path} is spoilt ({line}): remove it to have a new identity made")
