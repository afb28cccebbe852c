"""How relays come in: by their token the first time, by their machine key ever after.

unknown machine   the secret of an unused token: its relay's record takes the machine and the key
known             comes in again without a secret; what it says of itself replaces what it said before
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import AuthenticationFailed, Conflict, Refused
from ghostwire.keys import MachineKey, RelayKey
from ghostwire.model import Relay
from ghostwire.wire.jointoken import RELAY
from ghostwire.wire.messages import Credentials, RelayHello

PREFIX = "gwrelay-"
MAX_VERSION = 64
AGAIN = "make a new one: gwctl relays create"

_SHA256 = re.compile(r"([0-9a-f]{64})?")


def make_secret(entropy: Entropy) -> str:
    """A secret of 256 random bits."""
    return PREFIX + entropy(32).hex()


def digest(secret: str) -> bytes:
    """What the server keeps of a secret."""
    return hashlib.blake2s(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a relay says it is; its key's possession is proven. ``now`` is Unix seconds."""

    machine_key: MachineKey
    key: RelayKey
    tls: bool
    certificate: str
    stun_port: int
    credentials: Credentials | None
    now: int

    @classmethod
    def of(cls, machine_key: MachineKey, hello: RelayHello, now: int) -> Claim:
        """What a verified hello claims; Refused where it makes no sense."""
        if not _SHA256.fullmatch(hello.certificate):
            raise Refused("the certificate is not named by the 64 hex digits of its SHA-256", "protocol")
        if not 0 <= hello.stun_port <= 65535:
            raise Refused(f"{hello.stun_port} is no UDP port", "protocol")
        return cls(machine_key, hello.key, hello.tls, hello.certificate, hello.stun_port, hello.credentials, now)

    def fields(self, relay: Relay) -> dict[str, Any]:
        """What the relay's record takes over from it."""
        stun_port = relay.stun_port if relay.stun_fixed else self.stun_port
        return {"key": self.key, "tls": self.tls, "certificate": self.certificate, "stun_port": stun_port}


class RelayEnrolment:
    """``log`` hears of a used token in another machine's hands, which may mean that it was stolen."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def enrol(self, transaction: Transaction, claim: Claim) -> Relay:
        """The relay of this claim, written where anything is new; Refused says why not."""
        relay = self._relay(transaction, claim)
        if any(other.id != relay.id for other in transaction.find(Relay, key=claim.key)):
            raise Conflict("another relay has this key; was this machine's state copied? give each its own")
        fresh = msgspec.structs.replace(relay, machine_key=claim.machine_key, **claim.fields(relay))
        if fresh != relay:
            transaction.put(fresh)
        return fresh

    def _relay(self, transaction: Transaction, claim: Claim) -> Relay:
        known = transaction.find(Relay, machine_key=claim.machine_key)
        named = self._named(transaction, claim.credentials)
        if not known:
            return self._admitted(named, claim)
        if named is not None and named.id != known[0].id:
            name = known[0].name
            raise Conflict(f"this machine is the relay {name} already; first run: gwctl relays delete {name}")
        return known[0]

    def _named(self, transaction: Transaction, credentials: Credentials | None) -> Relay | None:
        """The relay that the secret is for."""
        if credentials is None or credentials.scheme != RELAY:
            return None
        found = transaction.find(Relay, digest=digest(credentials.secret))
        return found[0] if found else None

    def _admitted(self, relay: Relay | None, claim: Claim) -> Relay:
        if claim.credentials is None:
            raise Refused("this relay is not of the mesh; bring a token: gwctl relays create", "login-required")
        if relay is None:
            raise AuthenticationFailed(f"this server does not know this relay's token; {AGAIN}")
        if relay.machine_key is not None:
            self._log.critical(
                "ALARM: the token of relay %d (%s), used by machine %s, was presented by machine %s: it may have been "
                "stolen",
                relay.id,
                relay.name,
                relay.machine_key.short,
                claim.machine_key.short,
            )
            raise AuthenticationFailed(f"this relay's token was used by another machine; {AGAIN}")
        if relay.expires is not None and relay.expires <= claim.now:
            raise AuthenticationFailed(f"this relay's token has expired; {AGAIN}")
        return relay
