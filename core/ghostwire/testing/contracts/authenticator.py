"""What every authenticator must do: admit whom it should, once, and say no politely."""

from __future__ import annotations

import asyncio
import time

import msgspec

from ghostwire.capabilities.authentication import Admission, Authenticator, EnrolmentRequest
from ghostwire.capabilities.storage import Commit, Storage, Transaction
from ghostwire.errors import AuthenticationFailed
from ghostwire.keys import MachineKey
from ghostwire.model import User
from ghostwire.testing.contracts.base import Contract, harmless, refused, rule
from ghostwire.testing.storage import MemoryStorage

NOW = 1_800_000_000
WRONG, SPAN = 20, 1.0
"""So many wrong secrets take no more seconds; ours take a thousandth."""
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
        self.commits: list[Commit] = []
        await storage.open(self.commits.append)
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
        with harmless("a retry of the machine that was admitted"):
            second = await self.admit(authenticator, storage, later)
        assert second == first, f"a retry was answered with {second} instead of {first}"

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
        with harmless("a secret whose use was undone with its transaction"):
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

    @rule
    async def test_of_two_machines_that_show_a_secret_at_once_one_is_admitted(self) -> None:
        """Both works may share a commit."""
        authenticator, storage, request = await self.granted()
        other = msgspec.structs.replace(request, machine_key=MachineKey(bytes(31) + b"\2"))
        both = (self.admit(authenticator, storage, each) for each in (request, other))
        answers = await asyncio.gather(*both, return_exceptions=True)
        admitted = [each for each in answers if isinstance(each, Admission)]
        assert len(admitted) == 1, f"{len(admitted)} of two machines were admitted with one secret: {answers}"

    @rule
    async def test_retries_store_no_further_records(self) -> None:
        """A machine that retries for days must not fill the database."""
        authenticator, storage, request = await self.granted()
        await self.admit(authenticator, storage, request)
        known = self.stored()
        for number in range(20):
            await self.admit(authenticator, storage, msgspec.structs.replace(request, now=NOW + number))
        more = self.stored() - known
        assert not more, f"20 retries of one machine stored {len(more)} further records"

    def stored(self) -> set[tuple[type, int]]:
        """Kind and id of all that was ever stored."""
        return {(change.kind, change.id) for commit in self.commits for change in commit.changes}

    @rule
    async def test_wrong_secrets_take_little_time(self) -> None:
        """Anybody may show them, and the server writes nothing meanwhile."""
        authenticator, storage, request = await self.granted()
        began = time.monotonic()
        for number in range(WRONG):
            with refused(AuthenticationFailed, "a wrong secret"):
                await self.admit(authenticator, storage, msgspec.structs.replace(request, secret=f"{number}" * 1000))
        took = time.monotonic() - began
        assert took < SPAN, f"{WRONG} wrong secrets took {took:.1f} s, in which the server could write nothing else"
