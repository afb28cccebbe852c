"""The server's own files beside its database: its keys, read for a backup and put back in place by a restore."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ghostwire.errors import Conflict, PermissionDenied, StateError
from ghostwire.keys import write_private
from ghostwire.server.backup.layout import FILES

LARGEST = 64 * 1024
"""Bytes of a file that is kept: a chain of certificates."""
_STAGED = ".restored"


def kept(folder: Path) -> dict[str, str]:
    """The files that are there, by name; StateError where one can't be read."""
    found = {name: _content(folder / name) for name in FILES}
    return {name: content for name, content in found.items() if content is not None}


def place(folder: Path, files: Mapping[str, str], stamp: str, *, replace: bool) -> Placing:
    """Make ready to put these files there; Conflict where others are, unless those may be set aside.

    Files that are there and have none in the backup stay.
    """
    held = kept(folder)
    displaced = [name for name in files if name in held and held[name] != files[name]]
    if displaced and not replace:
        raise Conflict(f"{folder / displaced[0]}: is there and is another than the backup's; --force sets it aside")
    new = {name: content for name, content in files.items() if held.get(name) != content}
    for name, content in new.items():
        write_private(folder / f"{name}{_STAGED}", content.encode())
    return Placing(folder, tuple(new), {name: f"{name}.{stamp}" for name in displaced})


class Placing:
    """Files that are written and have yet to get their names; ``aside`` are the new names of those in their place."""

    def __init__(self, folder: Path, names: tuple[str, ...], aside: Mapping[str, str]) -> None:
        self._folder, self._names, self.aside = folder, names, aside

    def finish(self) -> None:
        """Rename them; at no moment is a name without a file that had one."""
        for name in self._names:
            if name in self.aside:
                _name_too(self._folder / name, self._folder / self.aside[name])
            os.replace(self._folder / f"{name}{_STAGED}", self._folder / name)
        flush(self._folder)

    def give_up(self) -> None:
        """Leave all as it is."""
        for name in self._names:
            (self._folder / f"{name}{_STAGED}").unlink(missing_ok=True)


def _name_too(path: Path, other: Path) -> None:
    """A second name, which is its only one as soon as another file is renamed over the first."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # no second names on this file system
        os.rename(path, other)


def _content(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise PermissionDenied(f"{path}: not ours to read; run as the server's user") from None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise StateError(f"{path}: is larger than any key or certificate; restore it from a backup")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise StateError(f"{path}: is no text; restore it from a backup") from None


def flush(folder: Path) -> None:
    """Have the names in this folder on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hand_over(folder: Path) -> None:
    """Give what root made in the server's folder to the owner of the state folder around it, who runs the server.

    Only plain files and folders with one name: somebody may have put links there.
    """
    owner = folder.parent.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            _give(path, owner.st_uid, owner.st_gid)


def _give(path: str, user: int, group: int) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a link, or a socket
        return
    try:
        found = os.fstat(descriptor)
        if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)):
            os.fchown(descriptor, user, group)
    finally:
        os.close(descriptor)
