"""Puts a backup back: the database whole, then the server's own files; and moves a database to another place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ghostwire.capabilities.storage import Backup, Storage
from ghostwire.config import ServerConfig
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, StateError
from ghostwire.server.backup import files
from ghostwire.server.backup.layout import Archive
from ghostwire.server.backup.renewal import renewed
from ghostwire.server.cluster import control_key

CONTROL_KEY = "control.key"


def needs_new_keys(archive: Archive, folder: Path) -> bool:
    """Whether neither the backup nor the state folder has the key by which nodes know the server."""
    return CONTROL_KEY not in archive.files and not (folder / CONTROL_KEY).exists()


async def restore(
    archive: Archive, storage: Storage, folder: Path, config: ServerConfig, entropy: Entropy, *, replace: bool
) -> Sequence[str]:
    """Fill the storage, which is not open, and the server's state folder; where what was there is now, if anything was.

    Conflict where something is there and is not to be replaced; nothing is changed then.
    """
    now = int(time.time())
    backup = renewed(archive.backup, config, entropy, now)
    if needs_new_keys(archive, folder):
        backup = _of_a_new_key(backup)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    placing = files.place(folder, archive.files, f"{stamp}.aside", replace=replace)
    try:
        aside = await storage.restore(backup, replace=replace)
    except BaseException:
        placing.give_up()
        raise
    placing.finish()
    return [each for each in (aside, *(str(folder / name) for name in placing.aside.values())) if each]


def _of_a_new_key(backup: Backup) -> Backup:
    """Without the word of which control key is the mesh's: nobody has that any more."""
    settings = {name: value for name, value in backup.settings.items() if name != control_key.SETTING}
    return msgspec.structs.replace(backup, settings=settings)


async def move(source: Storage, target: Storage, *, replace: bool) -> tuple[int, str]:
    """Copy all from one storage to another, neither of them open; how many records, and where what was there is now.

    StateError where there is nothing to copy: that is another folder or database than was meant. Conflict where both
    are the same.
    """
    if target.place and target.place == source.place:
        raise Conflict(f"{target.place}: is the same database as the one to copy; name another")
    backup = await source.backup()
    if not backup.revision:
        raise StateError("no server ever kept anything in this database; name the one to copy: --state, or --from URL")
    aside = await target.restore(backup, replace=replace)
    return len(backup.records), aside
