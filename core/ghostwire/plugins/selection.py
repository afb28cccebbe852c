"""Which plugins take part: pure arithmetic on names.

This distribution's plugins for the role take part unless left out (``-NAME``), third parties' only where named: by a
table ``[plugin.NAME]``, in the list ``plugins``, or on the command line, the later of which has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from ghostwire.config import Config
from ghostwire.errors import GhostwireError, UsageError
from ghostwire.hints import did_you_mean

ROLES = ("server", "node", "relay", "ctl")


class Selection(msgspec.Struct, frozen=True):
    """What the operator said: in ghostwire.toml, and on the command line (``NAME`` or ``-NAME``, in order)."""

    config: Config = msgspec.field(default_factory=Config)
    named: tuple[str, ...] = ()


class Candidate(Protocol):
    """An installed plugin, as far as choosing needs it; ``ours`` says that it came with GhostWire itself."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles it plays."""

    @property
    def ours(self) -> bool:
        """Whether this distribution brings it."""


class Chosen(msgspec.Struct, frozen=True):
    """Names that take part, this distribution's first; ``named`` are those the operator asked for himself."""

    plugins: tuple[str, ...]
    named: frozenset[str]


def choose(installed: Mapping[str, Candidate], selection: Selection, role: str | None = None) -> Chosen:
    """The plugins of this role (of any, where None). A name nobody has is a ConfigError or a UsageError."""
    wishes = _wishes(selection, installed)
    names = [name for name, plugin in installed.items() if role is None or role in plugin.roles]
    chosen = [name for name in names if wishes.get(name, installed[name].ours)]
    chosen.sort(key=lambda name: (not installed[name].ours, name))
    return Chosen(tuple(chosen), frozenset(name for name in chosen if name in wishes))


def _wishes(selection: Selection, installed: Mapping[str, Candidate]) -> dict[str, bool]:
    """Each name the operator mentioned, and whether it shall take part."""
    config = selection.config
    for name in config.plugin:
        if name not in installed:
            raise config.error(_unknown(name, installed), "plugin", name)
    wishes = dict.fromkeys(config.plugin, True)
    wishes.update(_read(config.plugins or (), installed, lambda text: config.error(text, "plugins")))
    wishes.update(_read(selection.named, installed, lambda text: UsageError(f"--plugin: {text}")))
    return wishes


def _read(
    words: Iterable[str], installed: Mapping[str, Candidate], error: Callable[[str], GhostwireError]
) -> Iterable[tuple[str, bool]]:
    for word in words:
        name = word.removeprefix("-")
        if name not in installed:
            raise error(_unknown(name, installed))
        yield name, not word.startswith("-")


def _unknown(name: str, installed: Iterable[str]) -> str:
    return f"no plugin {name!r} is installed{did_you_mean(name, installed)}"
