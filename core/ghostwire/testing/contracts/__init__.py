"""The capabilities' rules as test classes: subclass one, say how to make yours, and pytest does the rest.

    from ghostwire.testing.contracts import TransportContract

    class TestPigeon(TransportContract):
        async def make(self) -> Transport:
            return PigeonTransport(loft=self.loft)

Each rule runs in an event loop of its own (`Contract.run`) and closes what it opened.
"""

from __future__ import annotations

from ghostwire.testing.contracts.authenticator import AuthenticatorContract
from ghostwire.testing.contracts.base import Contract, rule
from ghostwire.testing.contracts.platform import PlatformContract, System
from ghostwire.testing.contracts.policy import PolicyContract
from ghostwire.testing.contracts.resolver import ResolverContract
from ghostwire.testing.contracts.storage import StorageContract
from ghostwire.testing.contracts.storage_sharing import SharedStorageContract
from ghostwire.testing.contracts.telemetry import TelemetryContract
from ghostwire.testing.contracts.transport import TransportContract
from ghostwire.testing.contracts.tunnel import TunnelContract

__all__ = [
    "AuthenticatorContract",
    "Contract",
    "PlatformContract",
    "PolicyContract",
    "ResolverContract",
    "SharedStorageContract",
    "StorageContract",
    "System",
    "TelemetryContract",
    "TransportContract",
    "TunnelContract",
    "rule",
]
