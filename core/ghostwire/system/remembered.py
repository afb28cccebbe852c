"""Where names led when they were last looked up, on disk: how a node finds its server while no resolver answers.

Whoever lives there proves by a key who he is, so an old answer, or a wrong one, costs an attempt and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from ghostwire.errors import GhostwireError
from ghostwire.keys import write_private

log = logging.getLogger("ghostwire.names")

FILE = "names.json"
MOST, ADDRESSES = 64, 16
"""Names that are remembered, the last ones; addresses of each."""
LARGEST = 256 * 1024
"""Bytes of a file that is read."""

_Names = dict[str, tuple[str, ...]]


class Remembered:
    """Names and their addresses in a file; for threads. One that is missing or damaged is empty, and one that cannot
    be written leaves what is remembered in memory, and says so once."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock, self._failed = file, Lock(), False
        self._names = _read(file)

    def addresses(self, host: str) -> Sequence[str]:
        """Where the name led; empty where that is not known."""
        return self._names.get(host, ())

    def remember(self, host: str, addresses: Sequence[str]) -> None:
        """The name leads there now; written where that is news, and blocks meanwhile."""
        kept = tuple(addresses[:ADDRESSES])
        with self._lock:
            before = self._names.pop(host, ())
            self._names[host] = kept
            if len(self._names) > MOST:
                del self._names[next(iter(self._names))]
            if set(kept) != set(before):
                self._write()

    def _write(self) -> None:
        try:
            write_private(self._file, msgspec.json.encode(self._names))
        except (OSError, GhostwireError) as error:
            if not self._failed:
                log.warning("%s; where names lead is forgotten at the next restart", error)
            self._failed = True
        else:
            self._failed = False


def _read(file: Path) -> _Names:
    with suppress(OSError, msgspec.DecodeError, RecursionError), file.open("rb") as stored:
        names = msgspec.json.decode(stored.read(LARGEST), type=_Names)
        return {host: addresses[:ADDRESSES] for host, addresses in list(names.items())[-MOST:]}
    return {}
