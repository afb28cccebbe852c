"""Policies for tests, compiled or refused."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Bearer, Person
from ghostwire.errors import Finding, PolicyError
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings

Compile = Callable[..., AclPolicy]
Refuse = Callable[[Any], Sequence[Finding]]


def compile_(policy: Any, **domains: str) -> AclPolicy:
    """A policy, given as a text or as what JSON has of it."""
    text = policy if isinstance(policy, str) else json.dumps(policy)
    compiled = AclEngine(Settings(domains=domains)).compile(text)
    assert isinstance(compiled, AclPolicy)
    return compiled


@pytest.fixture(name="compile_policy")
def compile_policy() -> Compile:
    """``compile_policy(policy, domain=issuer)``; domains as keywords of a dict."""
    return compile_


@pytest.fixture
def refuse() -> Refuse:
    """``refuse(policy)`` gives all findings."""

    def refuse(policy: Any) -> Sequence[Finding]:
        with pytest.raises(PolicyError) as caught:
            compile_(policy)
        return caught.value.findings

    return refuse


def bearer(
    address: str = "100.64.0.9", user: str = "", *tags: str, email: str = "", routes: Sequence[str] = ()
) -> Bearer:
    """A node; ``user`` is made on the server."""
    from ipaddress import ip_address, ip_network

    return Bearer((ip_address(address),), Person(user, email=email), tags, tuple(ip_network(route) for route in routes))
