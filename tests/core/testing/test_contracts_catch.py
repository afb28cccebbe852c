"""Each contract fails for an implementation that breaks one of its rules, and the failure says which."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Admission, Authenticator, Buffer, Change, Commit, EnrolmentRequest, NetworkConfig
from ghostwire.errors import AuthenticationFailed
from ghostwire.testing import MemoryDatabase, MemoryDevice, MemoryStorage, MemoryTransport, Network, simulate
from ghostwire.testing.contracts import (
    AuthenticatorContract,
    Contract,
    PlatformContract,
    StorageContract,
    System,
    TransportContract,
    rule,
)
from ghostwire.testing.datagrams import MemoryPath
from ghostwire.testing.platform import MemoryPlatform
from ghostwire.testing.storage import MemoryTransaction


def verdicts(contract: Contract) -> dict[str, str]:
    """Rule -> why it failed, for those that did."""
    failures = {}
    for name in dir(contract):
        if name.startswith("test_"):
            fresh = type(contract)()
            fresh.__dict__.update(contract.__dict__)
            try:
                getattr(fresh, name)()
            except (Exception, pytest.fail.Exception) as error:
                failures[name] = str(error)
    return failures


class Simulated:
    def run(self, main: Callable[[], Any]) -> None:
        simulate(main)


# Transports


class Transports(Simulated, TransportContract):
    kind: type[MemoryTransport] = MemoryTransport

    async def make(self) -> MemoryTransport:
        if not hasattr(self, "network"):
            self.network = Network()
        number = len(self.network.hosts) + 1
        return self.kind(self.network.host(f"host{number}", f"192.0.2.{number}"))


class _KeepsBuffers(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        asyncio.get_running_loop().call_soon(super().send, target, list(datagrams))
        return True


class _Joins(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        return super().send(target, [b"".join(bytes(datagram) for datagram in datagrams)])


class _IdentityPaths(MemoryTransport):
    def path(self, endpoint: str) -> MemoryPath:
        class Odd(MemoryPath):
            __eq__ = object.__eq__
            __hash__ = object.__hash__

        return Odd(self, super().path(endpoint)._target)


class _AnswersNone(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        super().send(target, datagrams)
        return None  # type: ignore[return-value]


class _RaisesWhenFull(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        if not super().send(target, datagrams) and self._port is not None:
            raise BlockingIOError
        return True


class _NeverCloses(MemoryTransport):
    async def close(self) -> None:
        """Keeps the port open."""


class _AcceptsAnything(MemoryTransport):
    def path(self, endpoint: str) -> MemoryPath:
        try:
            return super().path(endpoint)
        except ValueError:
            return MemoryPath(self, ("192.0.2.1", 1))


class _SmallOnly(MemoryTransport):
    def send(self, target: Any, datagrams: Sequence[Buffer]) -> bool:
        return super().send(target, [bytes(datagram)[:1200] for datagram in datagrams])


class _AdvertisesNothing(MemoryTransport):
    def endpoints(self) -> Sequence[str]:
        return ()


class _AdvertisesBytes(MemoryTransport):
    def endpoints(self) -> Sequence[Any]:
        return [b"192.0.2.1:1"]


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (_KeepsBuffers, "test_any_kind_of_buffer_is_sent_and_may_be_reused_at_once"),
        (_Joins, "test_datagrams_of_different_sizes_keep_their_borders"),
        (_IdentityPaths, "test_paths_to_the_same_end_are_equal_and_hash_alike"),
        (_AnswersNone, "test_a_send_never_raises_and_answers_yes_or_no"),
        (_RaisesWhenFull, "test_a_send_never_raises_and_answers_yes_or_no"),
        (_NeverCloses, "test_a_closed_transport_delivers_nothing_and_sends_nothing"),
        (_AcceptsAnything, "test_an_endpoint_that_makes_no_sense_is_a_value_error"),
        (_SmallOnly, "test_a_full_burst_of_full_datagrams_arrives_whole"),
        (
            _AdvertisesNothing,
            "test_a_running_transport_advertises_endpoints_as_short_text",
        ),
        (
            _AdvertisesBytes,
            "test_a_running_transport_advertises_endpoints_as_short_text",
        ),
    ],
)
def test_a_broken_transport_is_caught(kind: type[MemoryTransport], rule_name: str) -> None:
    contract = Transports()
    contract.kind = kind
    assert rule_name in verdicts(contract)


def test_failures_are_words_and_not_only_values() -> None:
    contract = Transports()
    contract.kind = _AcceptsAnything
    (text,) = verdicts(contract).values()
    assert "must be refused with ValueError, but nothing was raised" in text


# Storages


class Storages(Simulated, StorageContract):
    kind: type[MemoryStorage] = MemoryStorage

    async def make(self) -> MemoryStorage:
        if not hasattr(self, "disk"):
            self.disk = MemoryDatabase()
        return self.kind(self.disk)


class _SkipsRevisions(MemoryStorage):
    def _append(self, changes: Any) -> Commit:
        self.database.revision += 1
        return super()._append(changes)


class _TellsLate(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        loop = asyncio.get_running_loop()
        return await super().open(lambda commit: loop.call_later(1, committed, commit) and None)


class _KeepsFailed(MemoryStorage):
    def _attempt(self, work: Any, changes: Any) -> Any:
        transaction = MemoryTransaction(self.database)
        try:
            return work(transaction), None
        except Exception as error:
            return None, error
        finally:
            transaction.keep()
            changes |= transaction.changes


class _FailsTogether(MemoryStorage):
    def _commit(self) -> None:
        waiting = list(self._waiting)
        try:
            for work, _ in waiting:
                work(MemoryTransaction(self.database))
        except Exception as error:
            self._waiting.clear()
            for _, done in waiting:
                done.set_exception(error)
        else:
            super()._commit()


class _SameMark(MemoryStorage):
    def _append(self, changes: Any) -> Commit:
        commit = super()._append(changes)
        self.database.log[-1] = Commit(commit.revision, b"markmark", commit.changes)
        return self.database.log[-1]


class _ForgetsAtClose(MemoryStorage):
    async def close(self) -> None:
        self.crash()


class _NeverLocks(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.locked = False
        return await super().open(committed)


class _ReusesIds(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.last_ids.clear()
        return await super().open(committed)


class _AllowsTwins(MemoryStorage):
    def _attempt(self, work: Any, changes: Any) -> Any:
        class Loose(MemoryTransaction):
            def put(self, record: Any) -> None:
                self.changes[type(record), record.id] = record

        transaction = Loose(self.database)
        result = work(transaction)
        transaction.keep()
        changes |= transaction.changes
        return result, None


def _without_records(commit: Commit) -> Commit:
    return Commit(commit.revision, commit.mark, tuple(Change(each.kind, each.id, None) for each in commit.changes))


class _LogOfKinds(MemoryStorage):
    async def log(self, after: int) -> Any:
        commits = await super().log(after)
        return commits and [
            Commit(c.revision, c.mark, tuple(Change(x.kind, x.id, None) for x in c.changes)) for c in commits
        ]


class _LogWithHoles(MemoryStorage):
    async def log(self, after: int) -> Any:
        return [commit for commit in self.database.log if commit.revision > after]


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (_SkipsRevisions, "test_revisions_are_dense_and_in_order_however_many_write_at_once"),
        (_TellsLate, "test_write_returns_what_the_work_returned_after_the_commit_was_told"),
        (_KeepsFailed, "test_a_work_that_raises_undoes_only_itself"),
        (_FailsTogether, "test_a_work_that_raises_undoes_only_itself"),
        (_SameMark, "test_every_revision_has_a_mark_of_its_own"),
        (_ForgetsAtClose, "test_closing_finishes_what_was_begun_and_may_be_done_twice"),
        (_NeverLocks, "test_a_store_is_open_once"),
        (_ReusesIds, "test_ids_are_never_given_out_twice"),
        (_AllowsTwins, "test_a_unique_value_has_one_holder"),
        (_LogOfKinds, "test_the_log_tells_what_happened_after_a_revision"),
        (_LogWithHoles, "test_compacted_revisions_are_not_in_the_log"),
    ],
)
def test_a_broken_storage_is_caught(kind: type[MemoryStorage], rule_name: str) -> None:
    contract = Storages()
    contract.kind = kind
    assert rule_name in verdicts(contract)


# Platforms


class Platforms(Simulated, PlatformContract):
    kind: type[MemoryPlatform] = MemoryPlatform
    eyes: Callable[[MemoryPlatform], System]

    async def make(self) -> tuple[MemoryPlatform, System]:
        platform = self.kind(Network().host("laptop", "192.0.2.7"))
        return platform, self.eyes(platform)


class _NeverRestores(MemoryPlatform):
    async def restore(self) -> None:
        """Leaves everything."""


class _OnlyAdds(MemoryPlatform):
    async def configure(self, network: NetworkConfig) -> None:
        held = self.config
        both = tuple(dict.fromkeys((*(held.routes if held else ()), *network.routes)))
        await super().configure(NetworkConfig(network.interface, network.mtu, network.addresses, both))


class _Advertises(MemoryPlatform):
    def local_addresses(self) -> Sequence[str]:
        return ["127.0.0.1"]


class _TakesNames(MemoryPlatform):
    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        self.devices.pop(name, None)
        return await super().open_device(name, mtu)


class _RaisesAtRubbish(MemoryPlatform):
    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        device = await super().open_device(name, mtu)
        take = device._receive
        device._take = lambda raw: take(raw) is None  # type: ignore[method-assign]
        return device


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (_NeverRestores, "test_restoring_undoes_it_and_may_be_done_twice_or_for_nothing"),
        (_OnlyAdds, "test_configuring_again_changes_nothing_and_changing_leaves_nothing_over"),
        (_Advertises, "test_local_addresses_are_plain_addresses_that_peers_might_reach"),
        (_TakesNames, "test_a_name_that_is_taken_is_refused"),
        (_RaisesAtRubbish, "test_what_is_no_packet_does_no_harm"),
    ],
)
def test_a_broken_platform_is_caught(
    kind: type[MemoryPlatform], rule_name: str, memory_system: Callable[[MemoryPlatform], System]
) -> None:
    contract = Platforms()
    contract.eyes = memory_system
    contract.kind = kind
    assert rule_name in verdicts(contract)


# Authenticators


class Secrets(Authenticator):
    """A right one: secrets are settings, ``user`` or ``user machine``."""

    name = "secrets"

    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        machine = str(request.machine_key)
        owner, _, holder = (transaction.setting(f"secret {request.secret}") or "").partition(" ")
        if not owner or holder not in ("", machine):
            raise AuthenticationFailed("this secret is wrong or used up; ask for another")
        transaction.set_setting(f"secret {request.secret}", f"{owner} {machine}")
        return Admission(int(owner))


class Authenticators(Simulated, AuthenticatorContract):
    kind: type[Secrets] = Secrets

    async def make(self) -> Authenticator:
        return self.kind()

    def grant(self, transaction: Any, user: int, now: int) -> str:
        transaction.set_setting("secret abcdefghij", str(user))
        return "abcdefghij"


class _NeverConsumes(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        try:
            return super().admit(transaction, request)
        finally:
            transaction.set_setting(f"secret {request.secret}", "1")


class _RefusesRetries(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        held = transaction.setting(f"secret {request.secret}") or ""
        if " " in held:
            raise AuthenticationFailed("used")
        return super().admit(transaction, request)


class _Repeats(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        try:
            return super().admit(transaction, request)
        except AuthenticationFailed:
            raise AuthenticationFailed(f"wrong secret: {request.secret}") from None


class _RemembersOutside(Secrets):
    used: set[str] = set()  # noqa: RUF012 (that is the mistake)

    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        if str(request.machine_key) + request.secret not in self.used and any(request.secret in u for u in self.used):
            raise AuthenticationFailed("used")
        self.used.add(str(request.machine_key) + request.secret)
        return super().admit(transaction, request)


class _Bugs(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        request.secret.encode()
        return super().admit(transaction, request)


def test_a_right_authenticator_passes() -> None:
    assert verdicts(Authenticators()) == {}


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (_NeverConsumes, "test_a_used_up_secret_is_refused_to_another_machine"),
        (_RefusesRetries, "test_a_retry_of_the_same_machine_gets_the_same_answer"),
        (_Repeats, "test_any_other_secret_is_refused_in_one_line_that_does_not_repeat_it"),
        (_RemembersOutside, "test_what_a_failed_transaction_consumed_is_not_consumed"),
        (
            _Bugs,
            "test_any_other_secret_is_refused_in_one_line_that_does_not_repeat_it",
        ),
    ],
)
def test_a_broken_authenticator_is_caught(kind: type[Secrets], rule_name: str) -> None:
    contract = Authenticators()
    contract.kind = kind
    assert rule_name in verdicts(contract)


# The frame


def test_a_rule_closes_what_it_opened_even_when_it_fails() -> None:
    closed = []

    class Some(Contract):
        @rule
        async def test_it(self) -> None:
            self.cleanup.callback(closed.append, True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Some().test_it()
    assert closed == [True]


def test_a_rule_runs_in_a_real_loop_unless_the_subclass_says_otherwise() -> None:
    loops: list[type] = []

    class Some(Contract):
        @rule
        async def test_it(self) -> None:
            loops.append(type(asyncio.get_running_loop()))

    class InVirtualTime(Simulated, Some):
        pass

    Some().test_it()
    InVirtualTime().test_it()
    assert [kind.__name__ == "SimulatedLoop" for kind in loops] == [False, True]
