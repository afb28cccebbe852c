"""What a relay is across restarts: its two private keys, and the server it enrolled with."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghostwire.engine import Entropy
from ghostwire.keys import ControlKey, load_or_create_private_key
from ghostwire.uplink.membership import Kept

MACHINE_KEY, RELAY_KEY = "machine.key", "relay.key"


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """The server that this relay belongs to."""

    url: str
    control_key: ControlKey


class Identity:
    """The relay's state folder: two private keys and ``server.json``, all readable by their owner alone.

    Reading or making any of them raises StateError or PermissionDenied with the file's name.
    """

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        self.folder = folder
        self.machine_key = load_or_create_private_key(folder / MACHINE_KEY, entropy)
        self.relay_key = load_or_create_private_key(folder / RELAY_KEY, entropy)
        self._kept = Kept(folder, Membership, "enrol again")

    @property
    def membership(self) -> Membership | None:
        """The server that this relay belongs to, if any."""
        return self._kept.value

    def remember(self, membership: Membership) -> None:
        """Store the membership, durably; nothing is written where it did not change."""
        self._kept.remember(membership)

    def forget(self) -> None:
        """Belong to no server any more; the keys stay."""
        self._kept.forget()
