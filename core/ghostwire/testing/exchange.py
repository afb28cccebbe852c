"""What servers that share a database in memory tell each other beside their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ghostwire.capabilities.storage import MAX_ENTRY, Exchange, Notice


@dataclass(slots=True)
class Posted:
    """What one server posted: under each key its counter and its body; ``gone`` as others see it."""

    counter: int = 0
    entries: dict[str, tuple[int, bytes | None]] = field(default_factory=dict)
    gone: bool = False


class SharedExchange(Exchange):
    """One server's part of what is ``posted``; ``news`` lets the others look."""

    def __init__(self, posted: dict[str, Posted], news: Callable[[], None]) -> None:
        self._posted, self._news = posted, news
        self._tell: Callable[[Notice], None] | None = None
        self._waiting: dict[str, bytes | None] = {}
        self._heard: dict[str, int] = {}
        self._gone: set[str] = set()
        self._counter = 0
        self.server = ""

    def join(self, server: str, heard: Callable[[Notice], None]) -> None:
        """Begin as this server."""
        self.server, self._tell = server, heard
        self._posted[server] = Posted()
        self._news()

    def post(self, counter: int, entries: Mapping[str, bytes | None]) -> None:
        """Write these once the database is in reach."""
        assert counter > self._counter, f"{counter} was posted after {self._counter}"
        assert all(len(body) <= MAX_ENTRY for body in entries.values() if body is not None)
        self._counter = counter
        self._waiting |= entries
        self._news()

    def write(self) -> None:
        """Post what waits."""
        mine = self._posted.get(self.server)
        if mine is None or not (self._waiting or mine.gone):
            return
        mine.counter, mine.gone = self._counter, False
        mine.entries |= {key: (self._counter, body) for key, body in self._waiting.items()}
        self._waiting.clear()
        self._news()

    def read(self) -> None:
        """Tell what others posted since this was last done."""
        for server, posted in list(self._posted.items()):
            if self._tell is None or server == self.server:
                continue
            if posted.gone:
                if server in self._heard and server not in self._gone:
                    self._gone.add(server)
                    self._tell(Notice(server, posted.counter, gone=True))
                continue
            whole = server not in self._heard or server in self._gone
            if whole or posted.counter > self._heard[server]:
                self._tell(self._notice(server, posted, whole))

    def _notice(self, server: str, posted: Posted, whole: bool) -> Notice:
        since = -1 if whole else self._heard[server]
        self._heard[server] = posted.counter
        self._gone.discard(server)
        news = {key: body for key, (counter, body) in posted.entries.items() if counter > since}
        if whole:
            news = {key: body for key, body in news.items() if body is not None}
        return Notice(server, posted.counter, news, whole=whole)

    def leave(self) -> None:
        """Say no more; the others hear of it when somebody calls this server gone."""
        self._tell = None
