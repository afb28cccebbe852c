"""A plugin's code as one hash, read from its files and never imported."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

MOST_FILES = 5_000
MOST_BYTES = 64 << 20


def fingerprint(module: str) -> str:
    """SHA-256, in hex, over names and contents of all files of a module's top-level package, as it is installed.

    Compiled files and links do not count. Empty where it cannot be found or read, or is larger than the bounds.
    """
    try:
        spec = find_spec(module.partition(".")[0])
        return _hash(_files(spec)) if spec is not None else ""
    except (ImportError, OSError, ValueError):
        return ""


def _hash(files: Iterator[tuple[str, Path]]) -> str:
    total, left = hashlib.sha256(), MOST_BYTES
    for name, path in sorted(files):
        with path.open("rb") as opened:
            text = opened.read(left + 1)
        left -= len(text)
        if left < 0:
            return ""
        total.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() + hashlib.sha256(text).digest())
    return total.hexdigest()


def _files(spec: ModuleSpec) -> Iterator[tuple[str, Path]]:
    """Names inside the package, and where the files are. ValueError where there are too many."""
    if spec.submodule_search_locations is None:
        if spec.origin is None or not os.path.isfile(spec.origin):
            raise ValueError("no file")
        yield Path(spec.origin).name, Path(spec.origin)
        return
    count = 0
    for place in spec.submodule_search_locations:
        for folder, inner, names in os.walk(place):
            inner[:] = [each for each in inner if each != "__pycache__"]
            for path in (Path(folder, name) for name in names if not name.endswith(".pyc")):
                if stat.S_ISREG(path.lstat().st_mode):
                    count += 1
                    yield path.relative_to(place).as_posix(), path
                if count > MOST_FILES:
                    raise ValueError("too many files")
