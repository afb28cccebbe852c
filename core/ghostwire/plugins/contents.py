"""What a stranger's distribution puts beside its own modules, where Python or GhostWire would run it as theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, packages_distributions
from pathlib import PurePosixPath
from typing import Final

from ghostwire.hints import one_line

SITE: Final = frozenset({"sitecustomize", "usercustomize"})
PROGRAMS: Final = ("ghostwire", "gwctl", "python", "pip")
"""What programs are called that somebody may start as root."""


def trespass(distribution: Distribution | None, ours: Iterable[str]) -> str:
    """The first thing that it has no business to bring, in one line; empty where there is none.

    ``ours`` are GhostWire's own top-level modules. What pip noted at the installation is believed.
    """
    if distribution is None:
        return ""
    paths = [PurePosixPath(str(path)) for path in distribution.files or ()]
    return one_line(next(_found(distribution, paths, frozenset(ours)), ""))


def _found(distribution: Distribution, paths: list[PurePosixPath], ours: frozenset[str]) -> Iterator[str]:
    own = _own_metadata(paths)
    for path in paths:
        top = path.parts[0] if path.parts else ""
        if len(path.parts) == 1 and path.suffix == ".pth":
            yield f"brings {path}, which Python runs in every program that starts, GhostWire too"
        if top == ".." and path.name.startswith(PROGRAMS):
            yield f"brings a program named {path.name}"
        if top.endswith((".dist-info", ".egg-info")) and top != own:
            yield f"brings {top}, another distribution's metadata"
    modules = {_module(path) for path in paths} - {""}
    for module in sorted(modules):
        if module in SITE:
            yield f"brings {module}, which Python runs in every program that starts, GhostWire too"
        if module in ours or module in sys.stdlib_module_names:
            yield f"brings a module named {module}, which is {'GhostWire' if module in ours else 'Python'}'s own"
    yield from _shared(distribution, sorted(modules))


def _own_metadata(paths: list[PurePosixPath]) -> str:
    """The folder that pip wrote its notes to."""
    notes = [path.parts[0] for path in paths if len(path.parts) == 2 and path.name == "INSTALLER"]
    return notes[0] if notes else next((path.parts[0] for path in paths if path.name == "RECORD"), "")


def _module(path: PurePosixPath) -> str:
    """The module or regular package that this file makes; empty where it makes none by itself."""
    if len(path.parts) == 1 and path.suffix in (".py", ".so", ".pyc"):
        return path.name.partition(".")[0]
    if len(path.parts) == 2 and path.name.partition(".")[0] == "__init__":
        return path.parts[0]
    return ""


def _shared(distribution: Distribution, modules: list[str]) -> Iterator[str]:
    """Modules that another distribution brings too."""
    owners = packages_distributions() if modules else {}
    for module in modules:
        others = {owner for owner in owners.get(module, ()) if owner.lower() != distribution.name.lower()}
        if others:
            yield f"brings a module named {module}, which is {min(others)}'s"
