"""The authenticator's contract fails for authenticators that break one of its rules."""

import time
from typing import Any

import pytest

from ghostwire import Admission, Authenticator, EnrolmentRequest
from ghostwire.errors import AuthenticationFailed
from ghostwire.model import User
from ghostwire.testing import simulate
from ghostwire.testing.contracts import AuthenticatorContract

from .catching import failure


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


class Authenticators(AuthenticatorContract):
    run = staticmethod(simulate)
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


class _AdmitsAsAnother(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        return Admission(super().admit(transaction, request).user + 1)


class _WritesDownEachTry(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        id_ = transaction.new_id(User)
        transaction.put(User(id=id_ + 100, stable_id=f"try{id_}", name=f"try{id_}"))
        return super().admit(transaction, request)


class _Dawdles(Secrets):
    def admit(self, transaction: Any, request: EnrolmentRequest) -> Admission:
        time.sleep(0.06)
        return super().admit(transaction, request)


BREAKERS = [
    (_AdmitsAsAnother, "a_good_secret_admits_as_its_user", "admitted as user 2 instead of 1"),
    (
        _NeverConsumes,
        "a_used_up_secret_is_refused_to_another_machine",
        "a used-up secret shown by another machine must be refused with Authenticati",
    ),
    (
        _RefusesRetries,
        "a_retry_of_the_same_machine_gets_the_same_answer",
        "a retry of the machine that was admitted must do no harm, but raised Authen",
    ),
    (_Repeats, "any_other_secret_is_refused_in_one_line_that_does_not_repeat_it", "the error repeats the secret"),
    (
        _RemembersOutside,
        "what_a_failed_transaction_consumed_is_not_consumed",
        "a secret whose use was undone with its transaction must do no harm, but rai",
    ),
    (
        _Bugs,
        "any_other_secret_is_refused_in_one_line_that_does_not_repeat_it",
        "the secret '\\ud800' must be refused with AuthenticationFailed, but UnicodeE",
    ),
    (
        _NeverConsumes,
        "of_two_machines_that_show_a_secret_at_once_one_is_admitted",
        "of two machines were admitted with one secret",
    ),
    (_WritesDownEachTry, "retries_store_no_further_records", "20 retries of one machine stored 20 further records"),
    (
        _Dawdles,
        "wrong_secrets_take_little_time",
        "in which the server could write nothing else",
    ),
]


@pytest.mark.parametrize(("kind", "rule_name", "words"), BREAKERS)
def test_a_broken_authenticator_is_caught_in_words(kind: type[Secrets], rule_name: str, words: str) -> None:
    assert words in failure(Authenticators, kind, rule_name)


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name, _ in BREAKERS} == set(Authenticators.rules())


@pytest.mark.parametrize("rule_name", Authenticators.rules())
def test_a_right_authenticator_is_not_caught(rule_name: str) -> None:
    assert failure(Authenticators, Secrets, rule_name) == ""
