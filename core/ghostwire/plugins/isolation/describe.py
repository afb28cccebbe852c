"""Asks a throwaway child what a plugin offers, so that the daemon need not import it."""

from __future__ import annotations

import time
from typing import Any, Final

from ghostwire import errors
from ghostwire.config import Config
from ghostwire.errors import GhostwireError, PluginError, RemoteProtocolError, Unavailable
from ghostwire.hints import one_line
from ghostwire.plugins.isolation.protocol import Confined, Described, Trouble, encode, from_child
from ghostwire.plugins.isolation.setups import setup_of
from ghostwire.plugins.isolation.spawn import Process, spawn

PATIENCE: Final = 10.0
"""Seconds that a plugin may take to be imported and asked."""
MOST_MESSAGES: Final = 8


def describe(plugin: str, config: Config, patience: float = PATIENCE) -> Described:
    """What it offers. PluginError or ConfigError says in one line why nothing."""
    table = {key: value for key, value in config.plugin.get(plugin, {}).items() if key != "trusted"}
    child = spawn(output=False)
    try:
        if not child.channel.tell(encode(setup_of(plugin, table))):
            raise PluginError(plugin, "its process could not be told what to do")
        return _answer(child, plugin, config, time.monotonic() + patience)
    except RemoteProtocolError as error:
        raise PluginError(plugin, f"its process {error}") from None
    except Unavailable:
        raise PluginError(plugin, f"did not say what it offers within {patience:g} s; it was stopped") from None
    finally:
        child.end()


def _answer(child: Process, plugin: str, config: Config, until: float) -> Described:
    for _ in range(MOST_MESSAGES):
        child.channel.wait(until - time.monotonic())
        data = child.channel.hear()
        if not data:
            raise PluginError(plugin, f"its process {child.ended(until - time.monotonic())} while it was imported")
        message = from_child(data)
        if isinstance(message, Trouble):
            raise revived(message, plugin, config)
        if isinstance(message, Described):
            return message
        if not isinstance(message, Confined):
            break
    raise RemoteProtocolError("says other things than it was asked for")


def revived(trouble: Trouble, plugin: str, config: Config | None = None) -> GhostwireError:
    """The child's error as one of this process."""
    text = one_line(trouble.text)
    kind = getattr(errors, trouble.kind, PluginError)
    if kind is errors.ConfigError and config is not None:
        return config.error(text, *trouble.key.split("."))
    if kind in (errors.PlatformError, errors.Unavailable, errors.PermissionDenied):
        error: Any = kind(text)
        return error if config is None else PluginError(plugin, text)
    return PluginError(plugin, text)
