"""What a relay is across restarts: its two private keys, and the server it enrolled with."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire.keys import ControlKey, load_or_create_private_key, write_private
from ghostwire.model import from_json, to_json

MACHINE_KEY, RELAY_KEY, SERVER = "machine.key", "relay.key", "server.json"


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
        self.membership = self._load()

    def remember(self, membership: Membership) -> None:
        """Store the membership, durably; nothing is written where it did not change."""
        if membership != self.membership:
            write_private(self.folder / SERVER, to_json(membership) + b"\n")
            self.membership = membership

    def forget(self) -> None:
        """Belong to no server any more; the keys stay."""
        (self.folder / SERVER).unlink(missing_ok=True)
        self.membership = None

    def _load(self) -> Membership | None:
        path = self.folder / SERVER
        try:
            membership: Membership = from_json(path.read_bytes(), Membership)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise StateError(f"{path}: cannot be used: {error}; restore it, or remove it and enrol again") from None
        return membership
