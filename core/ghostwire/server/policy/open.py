"""What holds where no policy is stored: everything, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, PolicyRule


class AllowAll(CompiledPolicy):
    """Every node may reach every other, and every approved route, on every port."""

    rules: Sequence[PolicyRule] = (
        PolicyRule(sources=(EVERYONE,), destinations=(EVERYONE,), destination_prefixes=("0.0.0.0/0", "::/0")),
    )

    def selectors(self, node: Bearer) -> Sequence[str]:
        """That of everyone."""
        return (EVERYONE,)


class DenyAll(CompiledPolicy):
    """No node may reach another."""

    def selectors(self, node: Bearer) -> Sequence[str]:
        """None: no rule names any."""
        return ()
