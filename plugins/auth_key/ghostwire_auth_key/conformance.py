"""How the conformance kit tries pre-auth keys: a secret is granted by storing its key."""

from __future__ import annotations

import logging

from ghostwire import Authenticator, Transaction
from ghostwire.model import PreAuthKey
from ghostwire.testing import SeededEntropy
from ghostwire.testing.contracts import AuthenticatorContract
from ghostwire_auth_key import secret
from ghostwire_auth_key.authenticator import KeyAuthenticator


class KeyContract(AuthenticatorContract):
    """Pre-auth keys for one machine."""

    async def make(self) -> Authenticator:
        """The authenticator."""
        return KeyAuthenticator(logging.getLogger("ghostwire.conformance"))

    def grant(self, transaction: Transaction, user: int, now: int) -> str:
        """Store a key, and give its secret."""
        made = secret.make(SeededEntropy())
        id_ = transaction.new_id(PreAuthKey)
        transaction.put(
            PreAuthKey(id=id_, stable_id=made.stable_id, digest=made.digest, user=user, created=now, expires=now + 3600)
        )
        return made.text
