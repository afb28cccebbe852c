"""What policy_acl offers: the policy engine ``acl``, and ``gwctl policy``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ghostwire import Command, PolicyEngine, Provider, ServerContext, hookimpl
from ghostwire_policy_acl.settings import Settings

if TYPE_CHECKING:
    import click

__all__ = ["Settings", "conformance", "ghostwire_commands", "ghostwire_policies"]


@hookimpl
def ghostwire_policies() -> Iterator[Provider[PolicyEngine]]:
    """Groups, tags, access rules and grants say who may reach what."""
    yield Provider("acl", create_engine)


@hookimpl
def ghostwire_commands() -> Iterator[Command]:
    """The policy from the command line."""
    yield Command("gwctl", "policy", load_command, "Read, check, set and explain the policy.")


def create_engine(context: ServerContext) -> PolicyEngine:
    """The engine."""
    from ghostwire_policy_acl.engine import AclEngine

    return AclEngine(context.settings)


def load_command() -> click.Command:
    """The click command."""
    from ghostwire_policy_acl.command import policy

    return policy


def conformance(capability: str) -> type[object] | None:
    """The rules by which ``pytest --ghostwire-conformance`` judges this plugin."""
    if capability != "policy":
        return None
    from ghostwire_policy_acl.conformance import AclContract

    return AclContract
