"""Finding installed plugins without importing them, and importing one at a time; every failure is a value.

stevedore imports the plugin. Its lookup is not used: it keeps a cache in the user's home that goes stale, and its
handling of conflicts and of SystemExit ends the program.
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any

import msgspec
from msgspec.structs import replace

from ghostwire.hints import one_line

GROUP = "ghostwire.plugins"
DISTRIBUTION = "ghostwire-mesh"


class Installed(msgspec.Struct, frozen=True):
    """A plugin that is installed: its name, the roles it plays, and the distribution that brings it.

    ``rivals`` are other distributions that bring one of the same name; such a plugin can't be loaded.
    """

    name: str
    roles: tuple[str, ...]
    distribution: str
    entry: EntryPoint
    rivals: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether GhostWire itself brings it."""
        return self.distribution == DISTRIBUTION

    @property
    def version(self) -> str:
        """The version of its distribution."""
        return self.entry.dist.version if self.entry.dist else ""


class Failure(msgspec.Struct, frozen=True):
    """Why a plugin could not be used, in one line; ``missing`` is the library it lacks, where that is the reason."""

    reason: str
    missing: str = ""


def installed() -> dict[str, Installed]:
    """Every installed plugin by name; nothing is imported."""
    found: dict[str, Installed] = {}
    names: dict[int, str] = {}
    for entry in entry_points(group=GROUP):
        distribution = names.setdefault(id(entry.dist), _distribution_name(entry.dist))
        plugin = Installed(entry.name, tuple(entry.extras), distribution, entry)
        first = found.setdefault(entry.name, plugin)
        if first is not plugin:
            found[entry.name] = replace(first, rivals=(*first.rivals, distribution))
    return found


def load(plugin: Installed) -> ModuleType | Failure:
    """Import one plugin. Whatever it raises is a Failure, except the interrupt of a person at the keyboard."""
    if wrong := problem(plugin):
        return Failure(wrong)
    with _interrupts() as interrupted:
        try:
            module = _import(plugin.entry)
        except BaseException as error:
            if interrupted():
                raise KeyboardInterrupt from None
            return describe(error, plugin)
    return module if isinstance(module, ModuleType) else Failure(f"{plugin.entry.value} is not a module")


def problem(plugin: Installed) -> str:
    """Why it cannot be loaded, by its metadata alone; empty where nothing speaks against it."""
    if plugin.rivals:
        owners = " and ".join((plugin.distribution, *plugin.rivals))
        return f"is brought by {owners}; uninstall all but one"
    if not plugin.roles:
        return f"names no role; its entry point needs extras such as [node] ({plugin.distribution})"
    return ""


def lacks(plugin: Installed, module: ModuleType) -> Failure | None:
    """The first of the module's ``LIBRARIES`` (modules its providers import late) that is not installed."""
    for name in getattr(module, "LIBRARIES", ()):
        if find_spec(name) is None:
            return _missing(name, plugin)
    return None


def describe(error: BaseException, plugin: Installed) -> Failure:
    """An exception as a Failure: what, where, and for a missing library what to install."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        if error.name.partition(".")[0] == plugin.entry.module.partition(".")[0]:
            return Failure(f"its module {error.name} does not exist; reinstall {plugin.distribution}")
        return _missing(error.name, plugin)
    return Failure(f"raised {type(error).__name__}: {one_line(error) or '(no text)'}{_where(error)}")


def _import(entry: EntryPoint) -> Any:
    from stevedore.driver import DriverManager

    class OnePlugin(DriverManager[Any]):
        def list_entry_points(self) -> list[EntryPoint]:
            return [entry]

    return OnePlugin(GROUP, entry.name).driver


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Tells a real SIGINT, whose handler runs as ever, from a plugin that merely raises KeyboardInterrupt."""
    before = signal.getsignal(signal.SIGINT)
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if callable(before):
            before(number, frame)

    watching = callable(before) and threading.current_thread() is threading.main_thread()
    if watching:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        if watching:
            signal.signal(signal.SIGINT, before)


def _distribution_name(distribution: Distribution | None) -> str:
    name = distribution.name if distribution else None
    return name.lower().replace("_", "-").replace(".", "-") if name else "an unnamed distribution"


def _missing(module: str, plugin: Installed) -> Failure:
    return Failure(f"needs the Python module {module}; run: pip install {_wanted(plugin)}", module)


def _wanted(plugin: Installed) -> str:
    """What to give to pip: the distribution with those of its extras that are named like the plugin's roles."""
    offered = plugin.entry.dist.metadata.get_all("Provides-Extra") or [] if plugin.entry.dist else []
    extras = [role for role in plugin.roles if role in offered]
    return f"'{plugin.distribution}[{','.join(extras)}]'" if extras else plugin.distribution


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return ""
    return f" ({frames[-1].filename}:{frames[-1].lineno})"
