"""ghostwire.toml into typed settings; every error names its file, line and key.

plugins = ["-auth_oidc", "pigeon"]     leave one out, add another

[server]  [node]  [relay]              core's own settings
[plugin.NAME]                          that plugin's settings; trusted = true for a third party's
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from ghostwire.errors import ConfigError, PermissionDenied
from ghostwire.hints import did_you_mean

DEFAULT_FILE = Path("/etc/ghostwire/ghostwire.toml")

S = TypeVar("S")


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: typed, closed, every key with a default."""


class ServerConfig(Table, frozen=True, kw_only=True):
    """``[server]``.

    ``url`` is what join tokens announce (empty: https, or http without ``tls``, on this host's name and port).
    Empty certificate paths mean a certificate made on first start. An empty ``ipv6`` means a random /48 ULA, stored
    at first start. ``operator`` is a user of this machine who may administer besides root. ``keep_revisions`` is how
    far back the change log lets nodes resume; ``ephemeral_grace`` the seconds after which an ephemeral node that went
    away is removed.
    """

    listen: str = "0.0.0.0:8080"
    url: str = ""
    tls: bool = True
    certificate: str = ""
    certificate_key: str = ""
    domain: str = "mesh.local"
    ipv4: str = "100.64.0.0/16"
    ipv6: str = ""
    storage: str = "sql"
    operator: str = ""
    keep_revisions: Annotated[int, msgspec.Meta(ge=100)] = 100_000
    ephemeral_grace: Annotated[int, msgspec.Meta(ge=0)] = 300


class NodeConfig(Table, frozen=True, kw_only=True):
    """``[node]``. An empty ``platform`` is the first one offered; an empty ``hostname`` this machine's own."""

    interface: str = "gw0"
    mtu: Annotated[int, msgspec.Meta(ge=1280, le=9000)] = 1280
    tunnel: str = "userspace"
    platform: str = ""
    operator: str = ""
    hostname: str = ""


class RelayConfig(Table, frozen=True, kw_only=True):
    """``[relay]``. Empty certificate paths mean a certificate made on first start."""

    listen: str = "0.0.0.0:3478"
    tls: bool = True
    certificate: str = ""
    certificate_key: str = ""


class Document(Table, frozen=True, kw_only=True):
    """The whole file."""

    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    node: NodeConfig = msgspec.field(default_factory=NodeConfig)
    relay: RelayConfig = msgspec.field(default_factory=RelayConfig)
    plugins: tuple[str, ...] | None = None
    plugin: dict[str, dict[str, Any]] = {}


class Config(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """What the operator configured. ``plugins`` None: no list given; ``file`` is empty where no file was read."""

    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    node: NodeConfig = msgspec.field(default_factory=NodeConfig)
    relay: RelayConfig = msgspec.field(default_factory=RelayConfig)
    plugins: tuple[str, ...] | None = None
    plugin: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    file: str = ""
    text: str = ""

    def trusts(self, plugin: str) -> bool:
        """Whether ``[plugin.NAME]`` says ``trusted = true``."""
        return self.plugin.get(plugin, {}).get("trusted", False) is True

    def settings(self, plugin: str, kind: type[S]) -> S:
        """The typed settings in ``[plugin.NAME]``; ConfigError where they are wrong."""
        table = {key: value for key, value in self.plugin.get(plugin, {}).items() if key != "trusted"}
        return self.convert(table, kind, "plugin", plugin)

    def error(self, message: str, *path: str) -> ConfigError:
        """A ConfigError at the line of this key, or of the table around it."""
        from ghostwire.toml_lines import key_lines, line_of

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
    return config


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
    """What types cannot say; each check raises ValueError with the reason."""
    for name, table in config.plugin.items():
        if not isinstance(table.get("trusted", False), bool):
            raise config.error("expected true or false", "plugin", name, "trusted")
    for (section, key), check in CHECKS.items():
        try:
            check(getattr(getattr(config, section), key))
        except ValueError as error:
            raise config.error(str(error), section, key) from None


def split_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` (``[V6]:PORT``, ``:PORT`` for all addresses) into its parts; ValueError says what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise ValueError(f"expected HOST:PORT, for instance 0.0.0.0:8080, not {text!r}")
    return host.strip("[]") or "0.0.0.0", int(port)


def _prefix(version: int, longest: int) -> Callable[[str], object]:
    def check(text: str) -> None:
        from ipaddress import ip_network

        if not text:
            return
        prefix = ip_network(text)
        if prefix.version != version or prefix.prefixlen > longest:
            raise ValueError(f"expected an IPv{version} prefix of at most /{longest}, not {text!r}")

    return check


def _matching(pattern: str, what: str) -> Callable[[str], object]:
    def check(text: str) -> None:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {what}, not {text!r}")

    return check


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

CHECKS: Mapping[tuple[str, str], Callable[[Any], object]] = {
    ("server", "listen"): split_listen,
    ("server", "url"): _matching(r"(https?://\S+)?", "a URL that begins with https:// or http://"),
    ("server", "domain"): _matching(rf"{_LABEL}(\.{_LABEL})*", "a domain name in lower case"),
    ("server", "ipv4"): _prefix(4, 29),
    ("server", "ipv6"): _prefix(6, 64),
    ("node", "interface"): _matching(r"[A-Za-z0-9_.-]{1,15}", "an interface name of 1 to 15 letters and digits"),
    ("node", "hostname"): _matching(rf"({_LABEL})?", "a host name of lower-case letters, digits and hyphens"),
    ("relay", "listen"): split_listen,
}
