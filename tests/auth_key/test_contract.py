"""Pre-auth keys keep the promises of every authenticator."""

import logging

from ghostwire import Authenticator, Transaction
from ghostwire.model import PreAuthKey
from ghostwire.testing import SeededEntropy
from ghostwire.testing.contracts import AuthenticatorContract
from ghostwire_auth_key import secret
from ghostwire_auth_key.authenticator import KeyAuthenticator


class TestKeyAuthenticator(AuthenticatorContract):
    async def make(self) -> Authenticator:
        return KeyAuthenticator(logging.getLogger("test"))

    def grant(self, transaction: Transaction, user: int, now: int) -> str:
        made = secret.make(SeededEntropy())
        id_ = transaction.new_id(PreAuthKey)
        transaction.put(
            PreAuthKey(id=id_, stable_id=made.stable_id, digest=made.digest, user=user, created=now, expires=now + 3600)
        )
        return made.text
