"""What can be wrong with a plugin's module before any of its hooks is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import msgspec

from ghostwire import hookspecs
from ghostwire.hints import did_you_mean

Marks = Callable[[ModuleType, str], Mapping[str, Any] | None]
"""What @hookimpl noted about a module's function of that name; None where it bears no mark."""


def is_settings(kind: Any) -> bool:
    """Whether a plugin's ``Settings`` is a type that refuses keys it does not know."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.forbid_unknown_fields


def problems_of_hooks(module: ModuleType, marks: Marks) -> Iterable[str]:
    """What is wrong with each function that is a hook, or looks like one."""
    for name, function in vars(module).items():
        if not inspect.isroutine(function):
            continue
        options = marks(module, name)
        if options is not None:
            yield from _problems(options.get("specname") or name, function, options)
        elif name.startswith("ghostwire_") and function.__module__ == module.__name__:
            yield f"defines {name} without @hookimpl"


def _problems(name: str, function: Any, options: Mapping[str, Any]) -> Iterable[str]:
    if name not in hookspecs.ASKED_BY:
        yield f"implements {name}, which is no hook{did_you_mean(name, hookspecs.ASKED_BY)}"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield f"{name} is async; hooks are plain functions, async lives on the objects that providers create"
    if inspect.signature(function).parameters:
        yield f"{name} takes arguments; hooks have none, create(context) gets everything"
    if options.get("wrapper") or options.get("hookwrapper"):
        yield f"{name} wraps other plugins' hooks, which is not supported"
