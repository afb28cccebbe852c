"""Decides whether a pre-auth key lets a machine join, and consumes it in the same transaction."""

from __future__ import annotations

import logging

import msgspec

from ghostwire import Admission, Authenticator, EnrolmentRequest, Transaction
from ghostwire.errors import AuthenticationFailed
from ghostwire.keys import equal
from ghostwire.model import PreAuthKey
from ghostwire_auth_key import secret

AGAIN = "ask for a new one: gwctl preauthkeys create"


class KeyAuthenticator(Authenticator):
    """``log`` hears of a used one-use key in another machine's hands, which may mean that it was stolen."""

    name = "auth_key"

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def admit(self, transaction: Transaction, request: EnrolmentRequest) -> Admission:
        """Check and consume the key; AuthenticationFailed says why not."""
        key = self._known(transaction, request.secret)
        if key.revoked:
            spent = key.uses and not key.reusable  # revoked when the node that it brought was removed or expired
            raise AuthenticationFailed(f"this pre-auth key is {'used up' if spent else 'revoked'}; {AGAIN}")
        if key.expires <= request.now:
            raise AuthenticationFailed(f"this pre-auth key has expired; {AGAIN}")
        if not key.reusable and key.uses:
            self._check_retry(key, request)
        else:
            transaction.put(_used(key, request))
        return Admission(user=key.user, tags=key.tags, ephemeral=key.ephemeral, pre_auth_key=key.id)

    def _known(self, transaction: Transaction, text: str) -> PreAuthKey:
        stable_id = secret.stable_id_of(text)
        if stable_id is None:
            raise AuthenticationFailed(f"this is not a pre-auth key; {AGAIN}")
        found = transaction.find(PreAuthKey, stable_id=stable_id)
        if not found or not equal(found[0].digest, secret.digest(text)):
            raise AuthenticationFailed(f"this server does not know this pre-auth key; {AGAIN}")
        return found[0]

    def _check_retry(self, key: PreAuthKey, request: EnrolmentRequest) -> None:
        if key.used_by == request.machine_key:
            return
        self._log.critical(
            "ALARM: one-use pre-auth key %s, used by machine %s, was presented by machine %s: it may have been stolen",
            key.id,
            key.used_by.short if key.used_by else "unknown",
            request.machine_key.short,
        )
        raise AuthenticationFailed(f"this pre-auth key was used by another machine; {AGAIN}")


def _used(key: PreAuthKey, request: EnrolmentRequest) -> PreAuthKey:
    used_by = None if key.reusable else request.machine_key
    return msgspec.structs.replace(key, uses=key.uses + 1, used_by=used_by)
