"""What a database has that several servers share: one who follows its log, and a place where the servers meet."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable

from ghostwire.capabilities.storage import Exchange
from ghostwire_storage_sql.database import Database
from ghostwire_storage_sql.follower import Follower
from ghostwire_storage_sql.writer import Writer


class ClosingExchange(Exchange):
    """An exchange that can be left."""

    @abstractmethod
    async def close(self) -> None:
        """Leave, so that the others know at once."""


class Shared:
    """What runs on the loop while a shared database is open."""

    def __init__(self, exchange: ClosingExchange, follower: Follower) -> None:
        self.exchange, self._follower = exchange, follower

    async def close(self) -> None:
        """Leave, and stop following; harmless when called twice."""
        await self._follower.close()
        await self.exchange.close()


class SharedDatabase(Database):
    """A database that other servers write too."""

    @abstractmethod
    def share(self, writer: Writer, following: Callable[[bool], None], log: logging.Logger) -> Shared:
        """Begin to follow it and to meet the others, once it is open."""
