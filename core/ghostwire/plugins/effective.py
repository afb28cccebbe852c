"""The configuration in effect: every setting with its default, those of plugins too, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ghostwire.config import Config
from ghostwire.plugins.host import Host

HIDDEN = "(hidden)"
_SECRET = re.compile(r"(^|_)(secret|password|passphrase|token)$")
_PASSWORDS = (re.compile(r"([?&]password=)[^&\s]+"), re.compile(r"(\w+://[^\s:/@]*:)\S+(?=@)"))
"""In URLs: as an option, which may have an @ of its own, and before the host."""


def effective(config: Config, host: Host) -> dict[str, Any]:
    """Every setting as plain values; a plugin's are complete where it could be loaded, else as the file has them.

    What is named like a secret is hidden, and passwords in URLs are.
    """
    report = host.report()
    tables: dict[str, Any] = {"plugins": [info.name for info in report if info.selected]}
    for name in ("server", "node", "relay"):
        tables[name] = msgspec.to_builtins(getattr(config, name))
    loaded = {info.name: host.settings(info.name) for info in report if info.selected and not info.error}
    plugin = {name: msgspec.to_builtins(settings) for name, settings in loaded.items()}
    for name, table in config.plugin.items():
        plugin[name] = {**table, **plugin.get(name, {})}
    tables["plugin"] = {name: table for name, table in sorted(plugin.items()) if table}
    return {name: _hide(value) for name, value in tables.items()}


def _hide(value: Any) -> Any:
    """The same without the values of keys that are named like secrets, and URLs' passwords."""
    if isinstance(value, str):
        for pattern in _PASSWORDS:
            value = pattern.sub(rf"\1{HIDDEN}", value)
        return value
    if isinstance(value, Mapping):
        return {key: HIDDEN if _SECRET.search(key) and inner else _hide(inner) for key, inner in value.items()}
    return [_hide(inner) for inner in value] if isinstance(value, list | tuple) else value
