"""Giving a folder to the user that is to write in it."""

from __future__ import annotations

import os


def give_folder(descriptor: int, user: int) -> None:
    """Make ``user`` owner and group of the folder and all in it, and close it to others; OSError."""
    if os.fstat(descriptor).st_uid != user:
        for _, folders, files, at in os.fwalk(".", dir_fd=descriptor, follow_symlinks=False):
            for name in (*folders, *files):
                os.chown(name, user, user, dir_fd=at, follow_symlinks=False)
        os.fchown(descriptor, user, user)
    os.fchmod(descriptor, 0o700)
