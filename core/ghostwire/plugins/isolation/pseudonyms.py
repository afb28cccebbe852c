"""The key by which a third party's plugin knows this node: stable, and of no use to anybody who knows the real one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire.keys import NodeKey

SECRET_BYTES: Final = 32


def pseudonym(secret: bytes, node_key: NodeKey, plugin: str) -> NodeKey:
    """BLAKE2s of key and plugin under a secret that never leaves the daemon."""
    digest = hashlib.blake2s(node_key.raw + plugin.encode(), key=secret, person=b"gw-plugn")
    return NodeKey(digest.digest())


def secret_beside(folder: Path, entropy: Entropy) -> bytes:
    """The secret kept beside a plugin's folder, out of its reach; made where there is none yet (mode 0600)."""
    path = folder.with_name(f"{folder.name}.pseudonym")
    try:
        if not path.exists():
            _write(path, entropy(SECRET_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise StateError(f"{path}: cannot be kept: {error.strerror}") from None
    if len(secret) != SECRET_BYTES:
        raise StateError(f"{path}: is damaged; remove it, and another is made")
    return secret


def _write(path: Path, secret: bytes) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
