"""What a restore changes in a backup: nobody knows what was given out after it was made, so that is not given again.

Nodes that joined after the backup are not in it, yet they are still up, with their ids and addresses, until the server
tells them to log in anew; and others may know them by these until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ghostwire.capabilities.storage import Backup
from ghostwire.config import ServerConfig
from ghostwire.engine import Entropy
from ghostwire.model import RECORDS, Node, Record
from ghostwire.server.nodes.addresses import AddressPlan, stored_prefix

R = TypeVar("R", bound=Record)

LEAST_IDS, LEAST_ADDRESSES = 1000, 256
"""Ids of each kind that are passed over, and addresses that rest; in a large mesh as many as it has nodes."""


def renewed(backup: Backup, config: ServerConfig, entropy: Entropy, now: int) -> Backup:
    """The backup to restore at ``now`` (Unix seconds): ids leave a gap, and the next addresses rest for a while, as do
    those that rested already, for they may have been given out since."""
    draft = _Draft(backup)
    nodes = len(draft.find(Node))
    plan = AddressPlan(config.ipv4, config.ipv6 or stored_prefix(draft, entropy))
    plan.pass_over(draft, max(LEAST_ADDRESSES, nodes), now)
    gap = max(LEAST_IDS, nodes)
    last_ids = {kind: backup.last_ids.get(kind, 0) + gap for kind in RECORDS}
    return Backup(backup.revision, draft.records, draft.settings, last_ids)


class _Draft:
    """A `Transaction` on a backup that nobody sees."""

    def __init__(self, backup: Backup) -> None:
        self.settings = dict(backup.settings)
        self._records: dict[tuple[type[Record], int], Record] = {(type(each), each.id): each for each in backup.records}

    @property
    def records(self) -> tuple[Record, ...]:
        """All of them."""
        return tuple(self._records.values())

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""
        return self._records.get((kind, id_))  # type: ignore[return-value]

    def find(self, kind: type[R], **equal: Any) -> Sequence[R]:
        """Records whose fields have these values."""
        found: list[Any] = [record for (of, _), record in self._records.items() if of is kind]
        return [record for record in found if all(getattr(record, name) == equal[name] for name in equal)]

    def put(self, record: Record) -> None:
        """Insert or replace."""
        self._records[type(record), record.id] = record

    def delete(self, kind: type[Record], id_: int) -> None:
        """Remove."""
        self._records.pop((kind, id_), None)

    def new_id(self, kind: type[Record]) -> int:
        """Nothing new is made here."""
        raise NotImplementedError

    def setting(self, name: str) -> str | None:
        """A named value."""
        return self.settings.get(name)

    def set_setting(self, name: str, value: str) -> None:
        """Store a named value."""
        self.settings[name] = value
