"""What a Python process has to read of the file system to import and run ordinary libraries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final

SYSTEM: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
)
"""Libraries, time zones and the certificates that everybody trusts; no private keys."""


def runtime() -> list[str]:
    """Paths that exist: the system's libraries, Python's own folders and every entry of sys.path."""
    python = [os.path.join(root, name) for root in {sys.prefix, sys.base_prefix} for name in ("lib", "lib64")]
    configuration = os.path.join(sys.prefix, "pyvenv.cfg")
    paths = [*SYSTEM, *python, configuration, *(entry for entry in sys.path if os.path.isabs(entry))]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]


def within(path: str, folders: Iterable[str]) -> str:
    """The first of the folders that ``path`` is or lies in, symbolic links resolved; empty where none does."""
    real = os.path.realpath(path)
    return next((f for f in folders if os.path.commonpath([real, os.path.realpath(f)]) == os.path.realpath(f)), "")
