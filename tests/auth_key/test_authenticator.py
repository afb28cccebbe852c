"""Whom a pre-auth key admits, and as what."""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire import Transaction
from ghostwire.engine import SECOND
from ghostwire.errors import AuthenticationFailed, NotFound, Refused
from ghostwire.model import PreAuthKey, User, to_json
from ghostwire.server.mesh import LiveMesh
from ghostwire.testing import ManualClock, SeededEntropy
from ghostwire.testing.contracts import AuthenticatorContract
from ghostwire_auth_key.authenticator import KeyAuthenticator
from ghostwire_auth_key.issuing import Issuer, Order
from ghostwire_auth_key.routes import state
from ghostwire_auth_key.secret import make

Admit = Callable[..., Any]
AUTHENTICATOR = KeyAuthenticator(logging.getLogger("ghostwire.plugin.auth_key"))


class TestKeyAuthenticator(AuthenticatorContract):
    async def make(self) -> KeyAuthenticator:
        return AUTHENTICATOR

    def grant(self, transaction: Transaction, user: int, now: int) -> str:
        secret = make(SeededEntropy())
        transaction.put(
            PreAuthKey(
                id=1, stable_id=secret.stable_id, digest=secret.digest, user=user, created=now, expires=now + 3600
            )
        )
        return secret.text


async def test_a_key_admits_one_machine_for_one_hour_unless_asked_otherwise(
    issuer: Issuer, admit: Admit, clock: ManualClock
) -> None:
    key, secret = await issuer.issue(Order())
    assert (key.reusable, key.ephemeral, key.expires - key.created) == (False, False, 3600)
    clock.advance(3599 * SECOND)
    assert (await admit(AUTHENTICATOR, 1, secret)).user == 1


async def test_an_expired_key_is_refused_with_its_reason(issuer: Issuer, admit: Admit, clock: ManualClock) -> None:
    _, secret = await issuer.issue(Order(ttl_seconds=60))
    clock.advance(60 * SECOND)
    with pytest.raises(AuthenticationFailed, match="has expired"):
        await admit(AUTHENTICATOR, 1, secret)


async def test_a_used_up_key_is_refused_with_its_reason_and_raises_an_alarm(
    issuer: Issuer, admit: Admit, caplog: pytest.LogCaptureFixture
) -> None:
    key, secret = await issuer.issue(Order())
    await admit(AUTHENTICATOR, 1, secret)
    with pytest.raises(AuthenticationFailed, match="used by another machine"):
        await admit(AUTHENTICATOR, 2, secret)
    (alarm,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert f"key {key.id}" in alarm.getMessage()
    assert secret not in alarm.getMessage()


async def test_a_retry_by_the_same_machine_uses_the_key_once(issuer: Issuer, admit: Admit, mesh: LiveMesh) -> None:
    _, secret = await issuer.issue(Order())
    assert await admit(AUTHENTICATOR, 1, secret) == await admit(AUTHENTICATOR, 1, secret)
    assert mesh.list(PreAuthKey)[0].uses == 1


async def test_a_reusable_key_admits_many_and_counts_them(issuer: Issuer, admit: Admit, mesh: LiveMesh) -> None:
    _, secret = await issuer.issue(Order(user="bob", reusable=True, ephemeral=True, tags=("web", "tag:db")))
    admissions = [await admit(AUTHENTICATOR, machine, secret) for machine in (1, 2, 3)]
    assert {admission.user for admission in admissions} == {2}
    assert admissions[0].ephemeral
    assert admissions[0].tags == ("tag:web", "tag:db")
    assert mesh.list(PreAuthKey)[0].uses == 3


async def test_a_revoked_key_is_refused_with_its_reason(issuer: Issuer, admit: Admit) -> None:
    key, secret = await issuer.issue(Order(reusable=True))
    await issuer.revoke(key.id)
    with pytest.raises(AuthenticationFailed, match="is revoked"):
        await admit(AUTHENTICATOR, 1, secret)


async def test_a_key_whose_node_was_removed_is_used_up_not_revoked(
    issuer: Issuer, admit: Admit, mesh: LiveMesh
) -> None:
    key, secret = await issuer.issue(Order())
    await admit(AUTHENTICATOR, 1, secret)
    await issuer.revoke(key.id)
    assert state(mesh.list(PreAuthKey)[0], 0) == "used"
    with pytest.raises(AuthenticationFailed, match="is used up"):
        await admit(AUTHENTICATOR, 1, secret)


async def test_only_the_digest_of_a_secret_is_stored(issuer: Issuer, mesh: LiveMesh) -> None:
    _, secret = await issuer.issue(Order())
    (key,) = mesh.list(PreAuthKey)
    assert key.digest == hashlib.blake2s(secret.encode()).digest()
    assert secret.rpartition("-")[2].encode() not in to_json(key)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (Order(user="nobody"), NotFound),
        (Order(tags=("Not A Tag",)), Refused),
        (Order(tags=tuple(f"t{number}" for number in range(33))), Refused),
        (Order(ttl_seconds=10**12), Refused),
    ],
)
async def test_an_impossible_order_is_refused(issuer: Issuer, order: Order, error: type[Exception]) -> None:
    with pytest.raises(error):
        await issuer.issue(order)
    assert issuer.issued() == []


async def test_a_mesh_without_users_has_nobody_to_make_a_key_for(issuer: Issuer, mesh: LiveMesh) -> None:
    def leave(transaction: Transaction) -> None:
        for user in mesh.list(User):
            transaction.delete(User, user.id)

    await mesh.write(leave)
    with pytest.raises(NotFound, match="gwctl users create"):
        await issuer.issue(Order())


async def test_revoking_a_key_that_is_not_there_says_so(issuer: Issuer) -> None:
    with pytest.raises(NotFound, match="no pre-auth key 7"):
        await issuer.revoke(7)
