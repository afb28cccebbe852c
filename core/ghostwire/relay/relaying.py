"""Whom a relay serves and with whom it meshes: what the control session, or a worker's parent, tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ghostwire.capabilities.relaying import Fellows, Load, Relaying, Siblings
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.wire.messages import AdmittedKeys


class LiveRelaying(Relaying):
    """Serves the admitted keys, nobody before it was told of any; with ``everyone`` whoever comes."""

    budget = 0

    def __init__(
        self,
        private_key: PrivateKey,
        *,
        everyone: bool = False,
        siblings: Siblings | None = None,
        fellows: Fellows | None = None,
        first: bool = True,
    ) -> None:
        self.private_key, self.everyone = private_key, everyone
        self.fellows, self.first = fellows or Fellows(), first
        self.keys: dict[NodeKey, None] = {}
        self.stun_port = 0
        self._siblings = siblings or Siblings()
        self._removed: list[Callable[[Sequence[NodeKey]], None]] = []
        self._changed: list[Callable[[], None]] = []
        self._announced: list[Callable[[], None]] = []
        self._told: list[Callable[[AdmittedKeys], None]] = []
        self._loads: list[Callable[[], Load]] = []

    # What a relay protocol asks

    def admits(self, key: NodeKey) -> bool:
        """Whether this node may use the relay now."""
        return self.everyone or key in self.keys

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        """Call this with every key that is admitted no longer."""
        self._removed.append(removed)

    @property
    def siblings(self) -> Siblings:
        """Whom to mesh with."""
        return self._siblings

    def on_siblings(self, changed: Callable[[], None]) -> None:
        """Call this whenever `siblings` has changed."""
        self._changed.append(changed)

    def announce(self, *, stun_port: int) -> None:
        """STUN is served on this UDP port."""
        if stun_port != self.stun_port:
            self.stun_port = stun_port
            for announced in self._announced:
                announced()

    def measure(self, load: Callable[[], Load]) -> None:
        """Ask this for the load."""
        self._loads.append(load)

    # What it is told

    def admit(self, message: AdmittedKeys) -> None:
        """Serve these keys alone (``full``), or these too, and the removed ones no longer."""
        added = dict.fromkeys(message.keys)
        if message.full:
            gone = [key for key in self.keys if key not in added]
            self.keys = added
        else:
            gone = [key for key in message.removed if key in self.keys]
            for key in gone:
                self.keys.pop(key, None)
            self.keys.update(added)
        for told in self._told:
            told(message)
        if gone and not self.everyone:
            for removed in self._removed:
                removed(gone)

    def mesh_with(self, siblings: Siblings) -> None:
        """Mesh with these."""
        if siblings != self._siblings:
            self._siblings = siblings
            for changed in self._changed:
                changed()

    # What the program asks

    def on_told(self, told: Callable[[AdmittedKeys], None]) -> None:
        """Call this with every message that `admit` takes."""
        self._told.append(told)

    def on_announced(self, announced: Callable[[], None]) -> None:
        """Call this whenever `stun_port` has changed."""
        self._announced.append(announced)

    def load(self) -> Load:
        """What all that is measured carries, together."""
        loads = [load() for load in self._loads]
        return Load(clients=sum(load.clients for load in loads), bytes=sum(load.bytes for load in loads))
