"""Services are any further listener or task a plugin runs: STUN, gRPC, DNS."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Service(ABC):
    """Started after the core is up, closed in reverse order."""

    name: str

    @abstractmethod
    async def start(self) -> None:
        """Listen or begin; PlatformError says what failed."""

    @abstractmethod
    async def close(self) -> None:
        """Stop; harmless when called twice."""
