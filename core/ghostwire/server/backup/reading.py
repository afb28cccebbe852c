"""Reads a backup file and believes nothing of it: sizes are bounded, every line is checked, and so is the digest."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from ghostwire.capabilities.storage import Backup
from ghostwire.errors import PermissionDenied, StateError
from ghostwire.hints import one_line
from ghostwire.keys import is_private_key
from ghostwire.model import RECORDS, Record, from_json
from ghostwire.server.backup import fitting, layout
from ghostwire.server.backup.layout import KINDS, Archive, End, Header, KeptFile, LastId, Setting

T = TypeVar("T")

BLOCK = 1 << 16
MAX_LINE = 32 << 20
"""Bytes of one line: a policy of the largest size, every character escaped."""
RATIO, ROOM = 200, 64 << 20
"""Unpacked, a file is at most so many times as large, and that many bytes: what is beyond is no backup."""
LARGEST_ID = (1 << 63) - 1
NONE = "not a backup of GhostWire, or damaged"

_Line = tuple[str, msgspec.Raw]
_split: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


def read(path: Path, seen: Callable[[int], None] = lambda records: None) -> Archive:
    """The backup in this file, as `read_from` does it; StateError or PermissionDenied where it can't be opened."""
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        raise StateError(f"{path}: there is no such file") from None
    except PermissionError:
        raise PermissionDenied(f"{path}: not yours to read; run as root or as its owner") from None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror or error}") from None
    with opened as file:
        return read_from(file, str(path), seen)


def read_from(file: IO[bytes], name: str, seen: Callable[[int], None] = lambda records: None) -> Archive:
    """The whole backup; ``seen`` is told now and then how many records were read.

    StateError in one line where it is damaged, truncated, none at all, or made by a newer program.
    """
    try:
        return _Reader(seen).read(file)
    except _Newer as error:
        raise StateError(f"{name}: {error}; upgrade this one first, nothing was restored") from None
    except _Wrong as error:
        raise StateError(f"{name}: {error}; use another backup") from None
    except OSError as error:
        raise StateError(f"{name}: cannot be read: {error.strerror or error}") from None


class _Wrong(Exception):
    """What keeps the file from being used."""


class _Newer(Exception):
    """It was made by a newer program."""


class _Reader:
    """Puts the lines' values together."""

    def __init__(self, seen: Callable[[int], None]) -> None:
        self._seen = seen
        self._header: Header | None = None
        self._records: dict[tuple[type[Record], int], Record] = {}
        self._settings: dict[str, str] = {}
        self._last_ids: dict[type[Record], int] = {}
        self._files: dict[str, str] = {}
        self._end: End | None = None

    def read(self, file: IO[bytes]) -> Archive:
        """Line by line to the end, then whatever must hold for all."""
        digest, count = layout.digest(), 0
        for line in _lines(file):
            if self._end is not None:
                raise _Wrong("damaged: something follows its end")
            tag, value = self._parted(line, count + 1)
            try:
                self._take(tag, value)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise _Wrong(f"damaged: line {count + 1}: {one_line(error)}") from None
            if self._end is None:
                digest.update(line)
                count += 1
        return self._whole(count, digest.hexdigest())

    def _parted(self, line: bytes, number: int) -> _Line:
        try:
            return _split.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _Wrong(f"damaged: line {number}" if number > 1 else NONE) from None

    def _take(self, tag: str, value: msgspec.Raw) -> None:
        if self._header is None:
            self._begin(tag, value)
        elif tag == layout.SETTING:
            setting = _decoded(value, Setting)
            self._settings[setting.name] = setting.value
        elif tag == layout.LAST_ID:
            last = _decoded(value, LastId)
            self._last_ids[_kind(last.kind)] = _id(last.id, least=0)
        elif tag == layout.FILE:
            self._keep(_decoded(value, KeptFile))
        elif tag == layout.END:
            self._end = _decoded(value, End)
        else:
            self._add(_decoded(value, _kind(tag)))

    def _begin(self, tag: str, value: msgspec.Raw) -> None:
        if tag != layout.HEADER:
            raise _Wrong(NONE)
        header = _decoded(value, Header)
        if header.format > layout.FORMAT or header.schema > layout.SCHEMA:
            ours = f"format {layout.FORMAT}, schema {layout.SCHEMA}"
            made = f"format {header.format}, schema {header.schema}"
            raise _Newer(f"made by a newer GhostWire {one_line(header.version)[:40]} ({made}; this one reads {ours})")
        self._header = header

    def _keep(self, file: KeptFile) -> None:
        if file.name not in layout.FILES:
            raise ValueError(f"no file of a server is called {file.name[:40]!r}")
        if file.name in layout.PRIVATE_KEYS and not is_private_key(file.content):
            raise ValueError(f"its {file.name} is no private key")
        self._files[file.name] = file.content

    def _add(self, record: Record) -> None:
        place = (type(record), _id(record.id, least=1))
        if place in self._records:
            raise ValueError(f"a second {layout.tag(place[0])} {record.id}")
        self._records[place] = record
        self._last_ids[place[0]] = max(record.id, self._last_ids.get(place[0], 0))
        if len(self._records) % 1000 == 0:
            self._seen(len(self._records))

    def _whole(self, count: int, digest: str) -> Archive:
        if self._header is None:
            raise _Wrong("empty")
        if self._end is None:
            raise _Wrong("truncated: its end is missing")
        if (self._end.lines, self._end.blake2b) != (count, digest):
            raise _Wrong("damaged: its digest is another")
        self._seen(len(self._records))
        try:
            fitting.check(self._records)
            revision = _id(self._header.revision, least=0)
        except ValueError as error:
            raise _Wrong(f"damaged: {one_line(error)}") from None
        records = sorted(self._records.values(), key=lambda record: RECORDS.index(type(record)))
        return Archive(self._header, Backup(revision, tuple(records), self._settings, self._last_ids), self._files)


def _decoded(value: msgspec.Raw, kind: type[T]) -> T:
    decoded: T = from_json(bytes(value), kind)
    return decoded


def _kind(tag: str) -> type[Any]:
    kind = KINDS.get(tag)
    if kind is None:
        raise ValueError(f"nothing is called {tag[:40]!r}")
    return kind


def _id(number: int, *, least: int) -> int:
    if not least <= number <= LARGEST_ID:
        raise ValueError(f"{number} is no id")
    return number


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines with their line feeds; the last may lack its own, and is then incomplete."""
    held = bytearray()
    searched = 0
    for block in _unpacked(file):
        held += block
        start = 0
        while (end := held.find(b"\n", max(start, searched))) >= 0:
            yield bytes(held[start : end + 1])
            start = end + 1
        del held[:start]
        searched = len(held)
        if len(held) > MAX_LINE:
            raise _Wrong(f"damaged: a line of more than {MAX_LINE} bytes")
    if held:
        raise _Wrong("truncated: its end is missing")


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """The text in blocks of a bounded size."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    came = gave = 0
    while not unpacker.eof:
        fresh = b"" if unpacker.unconsumed_tail else file.read(BLOCK)
        try:
            block = unpacker.decompress(unpacker.unconsumed_tail or fresh, BLOCK)
        except zlib.error:
            raise _Wrong("damaged" if gave else NONE) from None
        came, gave = came + len(fresh), gave + len(block)
        if gave > ROOM + RATIO * came:
            raise _Wrong("damaged: it unpacks to more than any backup does")
        if block:
            yield block
        elif not fresh and not unpacker.unconsumed_tail:
            raise _Wrong("truncated: its end is missing" if came else "empty")
    if unpacker.unused_data or file.read(1):
        raise _Wrong("damaged: something follows its end")
