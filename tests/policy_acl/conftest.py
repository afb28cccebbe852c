"""Policies for tests, compiled or refused, and nodes for them."""

import json
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ghostwire import Bearer, Person
from ghostwire.errors import Finding, PolicyError
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings


@pytest.fixture(scope="session")
def compile_policy() -> Callable[..., AclPolicy]:
    """``compile_policy(policy, domains)``: a policy given as a text, or as what JSON has of it."""

    def compile_policy(policy: Any, domains: Mapping[str, str] | None = None) -> AclPolicy:
        text = policy if isinstance(policy, str) else json.dumps(policy)
        compiled = AclEngine(Settings(domains=dict(domains or {}))).compile(text)
        assert isinstance(compiled, AclPolicy)
        return compiled

    return compile_policy


@pytest.fixture(scope="session")
def refuse(compile_policy: Callable[..., AclPolicy]) -> Callable[[Any], Sequence[Finding]]:
    """``refuse(policy)`` gives all findings."""

    def refuse(policy: Any) -> Sequence[Finding]:
        with pytest.raises(PolicyError) as caught:
            compile_policy(policy)
        return caught.value.findings

    return refuse


@pytest.fixture(scope="session")
def bearer() -> Callable[..., Bearer]:
    """``bearer(address, user, *tags)``: a node of a user who was made on the server, where ``issuer`` says no other."""

    def bearer(
        address: str = "100.64.0.9",
        user: str = "",
        *tags: str,
        email: str = "",
        issuer: str = "local",
        routes: Sequence[str] = (),
    ) -> Bearer:
        addresses = tuple(ip_address(text) for text in address.split())
        return Bearer(addresses, Person(user, issuer, email), tags, tuple(ip_network(route) for route in routes))

    return bearer
