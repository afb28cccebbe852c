"""What options of the command line have in common with the settings that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ghostwire.config import Config


def over(config: Config, table: str, **options: Any) -> Config:
    """The configuration with the options that were given over the settings of this table.

    UsageError where ghostwire.toml would refuse one.
    """
    from msgspec.structs import replace

    return replace(config, **{table: replace(getattr(config, table), **given(table, **options))})


def given(table: str, **options: Any) -> dict[str, Any]:
    """The options that were given, by the names of their settings in this table of ghostwire.toml.

    UsageError where ghostwire.toml would refuse one.
    """
    found = {key: value for key, value in options.items() if value is not None}
    _check(table, found)
    return found


def storage_url(text: str) -> str:
    """A database's URL from the command line, or a storage's name; UsageError where it is neither, or where a password
    is in it, which all users here can read."""
    from urllib.parse import parse_qsl, urlsplit

    from ghostwire.config import check_storage
    from ghostwire.errors import UsageError

    try:
        check_storage(text)
    except ValueError as error:
        raise UsageError(f"the storage: {error}") from None
    try:
        parts = urlsplit(text)
        secret = parts.password is not None or any(name == "password" for name, _ in parse_qsl(parts.query))
    except ValueError:
        raise UsageError("this is no URL of a database; try postgresql://USER@HOST/NAME") from None
    if secret:
        raise UsageError(
            "everybody on this machine can read a command line: leave the password out of the URL and put it into "
            "~/.pgpass (mode 0600), or the whole URL as storage under [server] in ghostwire.toml"
        )
    return text


def _check(table: str, found: Mapping[str, Any]) -> None:
    from ghostwire.config import CHECKS
    from ghostwire.errors import UsageError

    for key, value in found.items():
        try:
            CHECKS.get((table, key), str)(value)
        except ValueError as error:
            raise UsageError(f"--{key}: {error}") from None
