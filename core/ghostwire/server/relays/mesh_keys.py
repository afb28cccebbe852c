"""The key of each region, by which its relays know each other: 32 random bytes, kept in the database."""

from __future__ import annotations

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy

KEY_BYTES = 32


class MeshKeys:
    """Used within transactions; never shows a key in ``repr`` or logs."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def of(self, transaction: Transaction, region: int) -> bytes:
        """The region's key, made where there is none."""
        held = transaction.setting(_name(region))
        return bytes.fromhex(held) if held else self.renew(transaction, region)

    def renew(self, transaction: Transaction, region: int) -> bytes:
        """A new key for the region, which a relay that left it does not know."""
        key = self._entropy(KEY_BYTES)
        transaction.set_setting(_name(region), key.hex())
        return key


def _name(region: int) -> str:
    return f"relay-mesh-key-{region}"
