"""Reading ghostwire.toml; every error names its file, line and key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ghostwire.config.checks import CHECKS
from ghostwire.config.tables import Document
from ghostwire.errors import ConfigError, PermissionDenied
from ghostwire.hints import did_you_mean

DEFAULT_FILE = Path("/etc/ghostwire/ghostwire.toml")

S = TypeVar("S")


class Config(Document, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What the operator configured, and where it was read; ``file`` is empty where no file was."""

    file: str = ""
    text: str = ""

    def trusts(self, plugin: str) -> bool:
        """Whether ``[plugin.NAME]`` says ``trusted = true``."""
        return self.plugin.get(plugin, {}).get("trusted", False) is True

    def stored_at(self, storage: str) -> Config:
        """With this storage: the one of that name, or where it is a URL, ``sql`` with that database."""
        if "://" not in storage:
            return msgspec.structs.replace(self, server=msgspec.structs.replace(self.server, storage=storage))
        settings = {**self.plugin.get("storage_sql", {}), "url": storage}
        plugin = {**self.plugin, "storage_sql": settings}
        return msgspec.structs.replace(self, server=msgspec.structs.replace(self.server, storage="sql"), plugin=plugin)

    def settings(self, plugin: str, kind: type[S]) -> S:
        """The typed settings in ``[plugin.NAME]``; ConfigError where they are wrong."""
        table = {key: value for key, value in self.plugin.get(plugin, {}).items() if key != "trusted"}
        return self.convert(table, kind, "plugin", plugin)

    def error(self, message: str, *path: str) -> ConfigError:
        """A ConfigError at the line of this key, or of the table around it."""
        from ghostwire.config.toml_lines import key_lines, line_of

        return ConfigError(message, file=self.file, line=line_of(key_lines(self.text), path), key=".".join(path))

    def convert(self, value: Any, kind: type[S], *path: str) -> S:
        """What stands in the file at this path as a value of this type; ConfigError says what is wrong where."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$")
        inside = tuple(re.findall(r"\.([\w-]+)", where))
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
        if unknown:
            known = did_you_mean(unknown[1], _keys(kind, inside))
            raise self.error(f"unknown setting{known}", *path, *inside, unknown[1])
        raise self.error(_in_words(what), *path, *inside)


def load(path: Path | None = None) -> Config:
    """Read this file, or where None is given the system's one if there is one, else the defaults.

    ConfigError where it is missing or wrong, PermissionDenied where it may not be read.
    """
    if path is not None:
        return parse(_read(path), str(path))
    return parse(_read(DEFAULT_FILE), str(DEFAULT_FILE)) if os.path.lexists(DEFAULT_FILE) else Config()


def parse(text: str, file: str = "") -> Config:
    """The text of a ghostwire.toml into a Config."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", file=file, line=_error_line(str(error), text)) from None
    tables = Config(file=file, text=text).convert(document, Document)
    config = Config(**msgspec.structs.asdict(tables), file=file, text=text)
    _check(config)
    return config.stored_at(config.server.storage)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", file=str(path)) from None
    except PermissionError:
        raise PermissionDenied(f"{path}: cannot read the configuration; run as root or as its owner") from None
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(path)) from None


def _error_line(message: str, text: str) -> int:
    at = re.search(r"at line (\d+)", message)
    return int(at[1]) if at else text.count("\n") + 1


def _keys(kind: Any, inside: Iterable[str]) -> list[str]:
    """The keys of a table of this type, or of the table at a path inside it; none where it is no table."""
    for name in inside:
        kind = next((field.type for field in _fields(kind) if field.encode_name == name), None)
    return [field.encode_name for field in _fields(kind)]


def _fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


_WORDS = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def _in_words(text: str) -> str:
    text = re.sub(r"`(\w+)(?: \| null)?`", lambda match: _WORDS.get(match[1], match[0]), text)
    return text[:1].lower() + text[1:]


def _check(config: Config) -> None:
    for name, table in config.plugin.items():
        if not isinstance(table.get("trusted", False), bool):
            raise config.error("expected true or false", "plugin", name, "trusted")
    for (section, key), check in CHECKS.items():
        try:
            check(getattr(getattr(config, section), key))
        except ValueError as error:
            raise config.error(str(error), section, key) from None
