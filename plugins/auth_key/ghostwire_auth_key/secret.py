"""The secret of a pre-auth key, as join tokens carry it.

    gwkey-<stable id, 16 hex digits>-<64 hex digits>

The server keeps the BLAKE2s digest of the whole text. The stable id only says which key is meant; comparing digests in
constant time decides.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from ghostwire.engine import Entropy

_TEXT = re.compile(r"gwkey-([0-9a-f]{16})-[0-9a-f]{64}")


class Secret(NamedTuple):
    """A new secret and what the server keeps of it."""

    text: str
    stable_id: str
    digest: bytes

    def __repr__(self) -> str:
        return f"Secret({self.stable_id}, text hidden)"


def make(entropy: Entropy) -> Secret:
    """A secret of 256 random bits."""
    stable_id = entropy(8).hex()
    text = f"gwkey-{stable_id}-{entropy(32).hex()}"
    return Secret(text, stable_id, digest(text))


def stable_id_of(text: str) -> str | None:
    """The stable id in a secret; None where it is not one."""
    match = _TEXT.fullmatch(text)
    return match[1] if match else None


def digest(text: str) -> bytes:
    """What the server keeps of a secret."""
    return hashlib.blake2s(text.encode()).digest()
