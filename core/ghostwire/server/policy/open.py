"""Core's own policies, for where no engine is at work or no policy is stored: everything is let in, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, PolicyRule


class AllowAll(CompiledPolicy):
    """Every node sees every other, and everything is let in."""

    rules = (PolicyRule(sources=(EVERYONE,), destinations=(EVERYONE,), destination_prefixes=("0.0.0.0/0", "::/0")),)

    def selectors(self, node: Bearer) -> Sequence[str]:
        """Everyone."""
        return (EVERYONE,)


class DenyAll(CompiledPolicy):
    """No node sees another, and nothing is let in."""

    def selectors(self, node: Bearer) -> Sequence[str]:
        """None."""
        return ()

    def route_selectors(self, node: Bearer, route: object) -> Sequence[str]:
        """None."""
        return ()
