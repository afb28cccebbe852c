"""A peer's keypairs: the one in use, the one before it, and the one that awaits its first datagram."""

from __future__ import annotations

from ghostwire_transport_wireguard.keypair import Keypair


class Sessions:
    """Up to three keypairs, all found under their index in the node's table."""

    __slots__ = ("_table", "current", "next", "previous")

    def __init__(self, table: dict[int, Keypair]) -> None:
        self._table = table
        self.current: Keypair | None = None
        self.previous: Keypair | None = None
        self.next: Keypair | None = None

    def begin(self, keypair: Keypair) -> None:
        """Use a keypair whose response this side received.

        One that is expected stays so: where handshakes crossed, nobody knows which the peer sends under.
        """
        self._table[keypair.index] = keypair
        self._forget(self.previous)
        self.previous, self.current = self.current, keypair

    def expect(self, keypair: Keypair) -> None:
        """Keep a keypair whose response this side sent, until `confirm`."""
        self._table[keypair.index] = keypair
        self._forget(self.next)
        self.next = keypair

    def confirm(self, keypair: Keypair) -> bool:
        """An authentic datagram came under this keypair; whether that put the expected one to use.

        One that is older than what is in use opens datagrams, and no more.
        """
        if keypair is not self.next or (self.current is not None and keypair.expires < self.current.expires):
            return False
        self._forget(self.previous)
        self.previous, self.current, self.next = self.current, keypair, None
        return True

    def wipe(self) -> None:
        """Forget all keys."""
        for keypair in (self.previous, self.current, self.next):
            self._forget(keypair)
        self.previous = self.current = self.next = None

    def _forget(self, keypair: Keypair | None) -> None:
        if keypair is not None:
            self._table.pop(keypair.index, None)
