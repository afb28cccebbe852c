"""The authenticator's contract fails for authenticators that break one of its rules."""

from collections.abc import Callable
from typing import Any

import pytest

from ghostwire import Admission, Authenticator, EnrolmentRequest
from ghostwire.errors import AuthenticationFailed
from ghostwire.testing import simulate
from ghostwire.testing.contracts import AuthenticatorContract, Contract

Verdicts = Callable[[Contract], dict[str, str]]


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


BREAKERS = [
    (_AdmitsAsAnother, "test_a_good_secret_admits_as_its_user"),
    (_NeverConsumes, "test_a_used_up_secret_is_refused_to_another_machine"),
    (_RefusesRetries, "test_a_retry_of_the_same_machine_gets_the_same_answer"),
    (_Repeats, "test_any_other_secret_is_refused_in_one_line_that_does_not_repeat_it"),
    (_RemembersOutside, "test_what_a_failed_transaction_consumed_is_not_consumed"),
    (_Bugs, "test_any_other_secret_is_refused_in_one_line_that_does_not_repeat_it"),
]


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name.removeprefix("test_") for _, rule_name in BREAKERS} == set(Authenticators.rules())


def test_a_right_authenticator_passes(verdicts: Verdicts) -> None:
    assert verdicts(Authenticators()) == {}


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_authenticator_is_caught(kind: type[Secrets], rule_name: str, verdicts: Verdicts) -> None:
    contract = Authenticators()
    contract.kind = kind
    assert rule_name in verdicts(contract)
