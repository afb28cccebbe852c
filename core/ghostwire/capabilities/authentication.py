"""Authenticators decide which machines may join, and as whose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ghostwire.capabilities.storage import Transaction
    from ghostwire.keys import MachineKey


class EnrolmentRequest(msgspec.Struct, frozen=True):
    """A machine that wants in. ``now`` is Unix seconds; the machine key was proven by the handshake."""

    machine_key: MachineKey
    secret: str
    now: int

    def __repr__(self) -> str:
        return f"EnrolmentRequest({self.machine_key!r}, secret hidden, now={self.now})"


class Admission(msgspec.Struct, frozen=True):
    """Who an admitted machine belongs to, and how."""

    user: int
    tags: tuple[str, ...] = ()
    ephemeral: bool = False
    pre_auth_key: int | None = None


class Authenticator(ABC):
    """One scheme of proving the right to join; ``name`` is `Credentials.scheme`."""

    name: str

    @abstractmethod
    def admit(self, transaction: Transaction, request: EnrolmentRequest) -> Admission:
        """Check and consume the secret in the transaction that inserts the node.

        Idempotent for a machine key that consumed it before. AuthenticationFailed says what is wrong and what to
        do, without repeating the secret.
        """
