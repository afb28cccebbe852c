"""Resolvers answer DNS questions inside the mesh."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Resolver(ABC):
    """Asked by rank until one answers."""

    name: str

    @abstractmethod
    async def resolve(self, query: bytes) -> bytes | None:
        """Answer a DNS message with a DNS message, or None: not mine, ask the next.

        The answer has the query's id and repeats its question. Any program on the machine may ask anything: what is no
        question is None too, nothing raises. May be cancelled.
        """
