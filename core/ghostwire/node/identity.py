"""What a node is across restarts: its private keys, the server it joined and its session number."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.keys import ControlKey, PrivateKey, load_or_create_private_key, write_private
from ghostwire.node.routing.preferences import KeptPreferences
from ghostwire.uplink.membership import Kept

_MACHINE, _NODE, _DISCO = "machine.key", "node.key", "disco.key"
_SESSION = "session"


class Membership(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The server this machine belongs to, and what its operator wants of it.

    ``up`` is the state wanted last, kept across restarts.
    ``expired`` says that the server refused the node key as too old. ``hostname`` replaces the machine's own name.
    """

    url: str
    control_key: ControlKey
    up: bool = True
    expired: bool = False
    hostname: str = ""


class Identity:
    """The node's state folder: three private keys, ``server.json``, ``routing.json`` and ``session``, all readable by
    the owner alone.

    Reading or making any of them raises StateError or PermissionDenied with the file's name.
    """

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        self._folder, self._entropy = folder, entropy
        self.machine_key = self._key(_MACHINE)
        self.node_key = self._key(_NODE)
        self.disco_key = self._key(_DISCO)
        self._kept = Kept(folder, Membership, "join again")
        self.preferences = KeptPreferences(folder)

    @property
    def public_keys(self) -> frozenset[bytes]:
        """The raw public keys of this node and of its server."""
        own = {key.public_raw for key in (self.machine_key, self.node_key, self.disco_key)}
        return frozenset(own if self.membership is None else own | {self.membership.control_key.raw})

    @property
    def membership(self) -> Membership | None:
        """The server this machine belongs to, if any."""
        return self._kept.value

    def remember(self, membership: Membership) -> None:
        """Store the membership, durably; nothing is written where it did not change."""
        self._kept.remember(membership)

    def forget(self) -> None:
        """Forget the server, and take a new node key so that no later server can link the two."""
        self._kept.forget()
        self.preferences.forget()
        self.renew_node_key()

    def renew_node_key(self) -> None:
        """Replace the node key and the disco key by new ones."""
        self.node_key = self._new_key(_NODE)
        self.disco_key = self._new_key(_DISCO)

    def next_session(self, clock: Clock) -> int:
        """A number greater than at any earlier start: one more than the last, or the wall clock's seconds.

        The wall clock helps where the folder was restored from an older copy, the count where the clock went back.
        """
        path = self._folder / _SESSION
        number = max(_read_number(path) + 1, clock.wall() // SECOND)
        write_private(path, b"%d\n" % number)
        return number

    def _key(self, name: str) -> PrivateKey:
        return load_or_create_private_key(self._folder / name, self._entropy)

    def _new_key(self, name: str) -> PrivateKey:
        key = PrivateKey.generate(self._entropy)
        write_private(self._folder / name, key.raw.hex().encode() + b"\n")
        return key


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return 0
