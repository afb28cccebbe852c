"""The format of a backup file: gzip of lines of JSON, of which each is ``[tag, value]`` (docs/backup.md).

["ghostwire-backup", {"format": 1, "schema": 5, ...}]    the first line, see `Header`
["setting", {"name": ..., "value": ...}]                 a named value of the mesh
["last_id", {"kind": "node", "id": 17}]                  the last id of a kind that was given out
["file", {"name": "control.key", "content": ...}]        a file of the state folder, as text
["user", {...}], ["node", {...}], ...                    a record; its tag is its kind in snake case
["end", {"lines": 23, "blake2b": "..."}]                 the last line: lines and digest of all before it
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from ghostwire.capabilities.storage import Backup
from ghostwire.model import RECORDS, Record

FORMAT = 1
"""Grows where an older program could not read the lines, or would lose something that it does not know of."""
SCHEMA = 5
"""Grows with every kind of record and every field that is added: an older program would lose it."""
DIGEST_BYTES = 32
SUFFIX = ".jsonl.gz"

HEADER, SETTING, LAST_ID, FILE, END = "ghostwire-backup", "setting", "last_id", "file", "end"
FILES = ("control.key", "relay.key", "tls.key", "tls.crt")
"""Files of the server's state folder, outside the database, that a backup may hold."""
PRIVATE_KEYS = ("control.key", "relay.key")
"""Those of them that hold a key of ours."""


SECRET_SETTINGS = ("relay-mesh-key-",)
"""How the names of settings begin that are keys, too; the server makes them anew where they are missing."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the file is. ``version`` is the program's that wrote it, ``revision`` the database's, ``created`` Unix
    seconds."""

    format: int
    schema: int
    version: str = ""
    domain: str = ""
    revision: int = 0
    created: int = 0


class Setting(msgspec.Struct, frozen=True):
    """A named value of the whole mesh."""

    name: str
    value: str


class LastId(msgspec.Struct, frozen=True):
    """The last id of a kind that was given out."""

    kind: str
    id: int


class KeptFile(msgspec.Struct, frozen=True):
    """One of `FILES`."""

    name: str
    content: str


class End(msgspec.Struct, frozen=True):
    """``lines`` are all before this one, ``blake2b`` is their digest in hex, their line feeds included."""

    lines: int
    blake2b: str


class Archive(msgspec.Struct, frozen=True):
    """A whole backup; ``files`` by name, none where it was made without keys."""

    header: Header
    backup: Backup
    files: Mapping[str, str]


def without_keys(backup: Backup) -> Backup:
    """The same without the settings that are keys."""
    plain = {name: value for name, value in backup.settings.items() if not name.startswith(SECRET_SETTINGS)}
    return msgspec.structs.replace(backup, settings=plain)


def tag(kind: type[Record]) -> str:
    """The tag of a kind of records: ``PreAuthKey`` is ``pre_auth_key``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def in_words(tag: str) -> str:
    """What people call a kind, or a field: an ``api_key`` is an API key."""
    return _WORDS.get(tag, tag.replace("_", " "))


_WORDS = {"pre_auth_key": "pre-auth key", "api_key": "API key"}

KINDS: Mapping[str, type[Record]] = {tag(kind): kind for kind in RECORDS}


def digest() -> hashlib.blake2b:
    """What all lines before the last go through."""
    return hashlib.blake2b(digest_size=DIGEST_BYTES)
