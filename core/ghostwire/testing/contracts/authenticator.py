"""What every authenticator must do: admit whom it should, once, and say no politely."""

from __future__ import annotations

import msgspec

from ghostwire.capabilities.authentication import Admission, Authenticator, EnrolmentRequest
from ghostwire.capabilities.storage import Storage, Transaction
from ghostwire.errors import AuthenticationFailed
from ghostwire.keys import MachineKey
from ghostwire.model import User
from ghostwire.testing.contracts.base import Contract, refused, rule
from ghostwire.testing.storage import MemoryStorage

NOW = 1_800_000_000
NONSENSE = ("", " ", "\0", "none such", "x" * 100_000, "ключ", "\ud800")


class AuthenticatorContract(Contract):
    """Subclass it as ``Test...`` and implement `make` and `grant`."""

    async def make(self) -> Authenticator:
        """The authenticator."""
        raise NotImplementedError

    def grant(self, transaction: Transaction, user: int, now: int) -> str:
        """Store what lets one machine join as this user, and give the secret it will show."""
        raise NotImplementedError

    async def granted(self) -> tuple[Authenticator, Storage, EnrolmentRequest]:
        """An authenticator, its storage, and a request that it must admit as user 1."""
        storage = MemoryStorage()
        await storage.open(lambda commit: None)
        self.cleanup.push_async_callback(storage.close)

        def prepare(transaction: Transaction) -> str:
            transaction.put(User(id=1, stable_id="u1", name="alice"))
            return self.grant(transaction, 1, NOW)

        secret = await storage.write(prepare)
        return await self.make(), storage, EnrolmentRequest(MachineKey(bytes(31) + b"\1"), secret, NOW)

    async def admit(self, authenticator: Authenticator, storage: Storage, request: EnrolmentRequest) -> Admission:
        """Ask in a transaction, as the server does."""
        return await storage.write(lambda transaction: authenticator.admit(transaction, request))

    @rule
    async def test_a_good_secret_admits_as_its_user(self) -> None:
        """And the answer is an Admission."""
        authenticator, storage, request = await self.granted()
        admission = await self.admit(authenticator, storage, request)
        assert isinstance(admission, Admission)
        assert admission.user == 1, f"admitted as user {admission.user} instead of 1"

    @rule
    async def test_a_retry_of_the_same_machine_gets_the_same_answer(self) -> None:
        """Its first answer may have been lost on the way."""
        authenticator, storage, request = await self.granted()
        first = await self.admit(authenticator, storage, request)
        later = msgspec.structs.replace(request, now=NOW + 5)
        assert await self.admit(authenticator, storage, later) == first

    @rule
    async def test_a_used_up_secret_is_refused_to_another_machine(self) -> None:
        """One secret, one machine."""
        authenticator, storage, request = await self.granted()
        await self.admit(authenticator, storage, request)
        thief = msgspec.structs.replace(request, machine_key=MachineKey(bytes(31) + b"\2"))
        with refused(AuthenticationFailed, "a used-up secret shown by another machine"):
            await self.admit(authenticator, storage, thief)

    @rule
    async def test_what_a_failed_transaction_consumed_is_not_consumed(self) -> None:
        """The node could not be inserted: the machine may try again, and so may another."""
        authenticator, storage, request = await self.granted()

        def fails(transaction: Transaction) -> None:
            authenticator.admit(transaction, request)
            raise ZeroDivisionError

        with refused(ZeroDivisionError, "the transaction"):
            await storage.write(fails)
        other = msgspec.structs.replace(request, machine_key=MachineKey(bytes(31) + b"\2"))
        assert (await self.admit(authenticator, storage, other)).user == 1

    @rule
    async def test_any_other_secret_is_refused_in_one_line_that_does_not_repeat_it(self) -> None:
        """Whatever a stranger sends."""
        authenticator, storage, request = await self.granted()
        near = request.secret[:-1] + ("A" if request.secret[-1:] != "A" else "B")
        for secret in (*NONSENSE, near, request.secret + "x"):
            with refused(AuthenticationFailed, f"the secret {secret[:20]!r}") as caught:
                await self.admit(authenticator, storage, msgspec.structs.replace(request, secret=secret))
            assert len(secret) < 8 or secret not in str(caught[0]), "the error repeats the secret"
