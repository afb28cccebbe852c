"""The users of this machine: who may administer a program that runs on it, and their names."""

from __future__ import annotations

import os
import pwd

from ghostwire.config import Config


def administrators(config: Config, section: str) -> frozenset[int]:
    """User ids: root, this process's own and the operator of this section; ConfigError where there is no such user."""
    name = getattr(config, section).operator
    try:
        operator = {pwd.getpwnam(name).pw_uid} if name else set()
    except KeyError:
        raise config.error(f"this machine has no user {name!r}", section, "operator") from None
    return frozenset({0, os.geteuid(), *operator})


def name_of(uid: int) -> str:
    """The name of a user id; ``user 1234`` where nobody has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
