"""Writes a backup: some lines at a time, so that neither the whole text nor the whole file is ever in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ghostwire.model import to_json
from ghostwire.server.backup import layout
from ghostwire.server.backup.layout import Archive, End, KeptFile, LastId, Setting

SLICE = 128
"""Lines that are encoded and compressed in one go: about 100 kB."""
LEVEL = 6


def chunks(archive: Archive) -> Iterator[bytes]:
    """The file's bytes, piece by piece; each costs about a millisecond of computing."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    digest, count, lines = layout.digest(), 0, _lines(archive)
    while part := list(islice(lines, SLICE)):
        text = b"".join(part)
        digest.update(text)
        count += len(part)
        if data := compressor.compress(text):
            yield data
    end = _line(layout.END, End(count, digest.hexdigest()))
    yield compressor.compress(end) + compressor.flush()


def _lines(archive: Archive) -> Iterator[bytes]:
    backup = archive.backup
    yield _line(layout.HEADER, archive.header)
    for name, value in backup.settings.items():
        yield _line(layout.SETTING, Setting(name, value))
    for kind, last in backup.last_ids.items():
        yield _line(layout.LAST_ID, LastId(layout.tag(kind), last))
    for name, content in archive.files.items():
        yield _line(layout.FILE, KeptFile(name, content))
    for record in backup.records:
        yield _line(layout.tag(type(record)), record)


def _line(tag: str, value: Any) -> bytes:
    return to_json((tag, value)) + b"\n"
