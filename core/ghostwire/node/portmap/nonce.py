"""The nonce of this node's PCP mappings, kept so that a node that was killed may change what it left behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ghostwire.engine import Entropy
from ghostwire.errors import GhostwireError
from ghostwire.keys import write_private
from ghostwire.node.portmap.pcp import NONCE_BYTES

FILE = "portmap.nonce"


def load(folder: Path, entropy: Entropy) -> bytes:
    """The stored one, else a new one; a folder that cannot keep it is no reason to go without."""
    path = folder / FILE
    try:
        held = path.read_bytes()
    except OSError:
        held = b""
    if len(held) == NONCE_BYTES:
        return held
    made = entropy(NONCE_BYTES)
    with suppress(OSError, GhostwireError):
        write_private(path, made)
    return made
