"""The contracts for whatever is installed: each makes its object from a `Subject` alone."""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec.structs import replace

from ghostwire.capabilities.contexts import TunnelContext
from ghostwire.capabilities.names import Resolver
from ghostwire.capabilities.policy import PolicyEngine
from ghostwire.capabilities.storage import Storage
from ghostwire.capabilities.telemetry import Telemetry
from ghostwire.capabilities.tunnel import Tunnel
from ghostwire.errors import PluginError
from ghostwire.testing.conformance.installed import OfInstalled
from ghostwire.testing.conformance.subject import Subject
from ghostwire.testing.conformance.surroundings import context
from ghostwire.testing.conformance.transport import InstalledTransport
from ghostwire.testing.contracts.authenticator import AuthenticatorContract
from ghostwire.testing.contracts.base import Contract
from ghostwire.testing.contracts.platform import PlatformContract
from ghostwire.testing.contracts.policy import PolicyContract
from ghostwire.testing.contracts.resolver import ResolverContract
from ghostwire.testing.contracts.storage import StorageContract
from ghostwire.testing.contracts.telemetry import TelemetryContract
from ghostwire.testing.contracts.tunnel import TunnelContract


class InstalledTunnel(TunnelContract):
    """A tunnel on a simulated network."""

    subject: Subject

    def make(self, context: TunnelContext) -> Tunnel:
        """With the plugin's settings."""
        made: Tunnel = self.subject.create(replace(context, settings=self.subject.settings))
        return made


class InstalledStorage(OfInstalled, StorageContract):
    """A storage in a folder of the rule's own."""

    _folder: Path | None = None

    async def make(self) -> Storage:
        """One more over the same store."""
        self._folder = self._folder or self.folder()
        made: Storage = self.subject.create(context(self.subject.settings, self._folder))
        return made


class InstalledResolver(OfInstalled, ResolverContract):
    """A resolver."""

    async def make(self) -> Resolver:
        """The resolver."""
        made: Resolver = await super().make()
        return made


class InstalledPolicy(OfInstalled, PolicyContract):
    """A policy engine."""

    async def make(self) -> PolicyEngine:
        """The engine."""
        made: PolicyEngine = await super().make()
        return made


class InstalledTelemetry(OfInstalled, TelemetryContract):
    """An exporter."""

    async def make(self) -> Telemetry:
        """The exporter."""
        made: Telemetry = await super().make()
        return made


GENERIC: dict[str, type[Contract]] = {
    "transport": InstalledTransport,
    "tunnel": InstalledTunnel,
    "storage": InstalledStorage,
    "resolver": InstalledResolver,
    "policy": InstalledPolicy,
    "telemetry": InstalledTelemetry,
}
NEEDED: dict[str, type[Contract]] = {"authenticator": AuthenticatorContract, "platform": PlatformContract}
"""Of these the author gives a subclass (a platform's, elsewhere than on Linux): nobody else knows how a secret is
granted, or how to look at his system."""


def _of_this_system(capability: str) -> type[Contract] | None:
    """What only one operating system can judge."""
    if (capability, sys.platform) != ("platform", "linux"):
        return None
    from ghostwire.testing.conformance.linux import InstalledLinuxPlatform

    return InstalledLinuxPlatform


def contract_for(subject: Subject) -> type[Contract]:
    """The class to run: the author's where his module gives one, else the kit's; with what his module declares.

    PluginError says in one line what is missing or wrong.
    """
    plugin, capability = subject.offer.plugin, subject.capability
    give = getattr(subject.module, "conformance", None)
    base = give(capability) if give is not None else None
    base = base or GENERIC.get(capability) or _of_this_system(capability)
    if base is None:
        wanted = NEEDED[capability].__name__
        raise PluginError(plugin, f"its module must export conformance(capability), which gives a subclass of {wanted}")
    if not (isinstance(base, type) and issubclass(base, Contract)):
        raise PluginError(plugin, f"conformance({capability!r}) gave {base!r}, which is no subclass of Contract")
    cannot = {**base.cannot, **getattr(subject.module, "CANNOT", {}).get(capability, {})}
    try:
        return type(base.__name__, (base,), {"subject": subject, "cannot": cannot})
    except ValueError as error:
        raise PluginError(plugin, f"CANNOT: {error}") from None
