"""What `gwctl server backup`, `restore` and `migrate` do: files, and databases of servers that do not run."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import ServerApi
from ghostwire.cli.options import storage_url
from ghostwire.cli.program import Program
from ghostwire.cli.tables import size
from ghostwire.errors import PermissionDenied, StateError, UsageError
from ghostwire.keys import create_private
from ghostwire.model import Record
from ghostwire.server.backup import files, layout, reading, restoring
from ghostwire.server.backup.layout import Archive

if TYPE_CHECKING:
    from ghostwire.server.server import Server

PIPED = "-"
"""Where a file is named: standard input or output."""
WAIT = 120.0
"""Seconds a block of the backup may take."""
_EVERY = 0.2


class Progress:
    """Says on a terminal, and there alone, how far it is; what it said is gone at the end."""

    def __init__(self) -> None:
        self._shown, self._next = sys.stderr.isatty(), 0.0

    def say(self, text: str) -> None:
        """Some times a second at most."""
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def end(self) -> None:
        """Wipe it away."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


# -- backup


def named(given: str) -> Path:
    """The file to write, named after the time where only a folder is given, or nothing.

    What ends in a slash is a folder, made if it is not there, for its owner alone.
    """
    place = Path(given)
    if given.endswith("/") and not place.exists():
        with _writing(place, None):
            place.mkdir(mode=0o700, parents=True)
    elif not place.is_dir():
        return place
    return place / f"ghostwire-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}{layout.SUFFIX}"


def fetch(api: ServerApi, file: Path, keys: bool) -> dict[str, Any]:
    """Write the server's backup under a temporary name, read it back, and give it its own; what is in it.

    StateError where it can't be written: nothing is left then, and what was there before stays.
    """
    part = file.with_name(f".{file.name}.part")
    with _writing(file, part):
        _receive(api, part, keys)
        archive = opened(part)
        os.replace(part, file)
        files.flush(file.parent)
        length = file.stat().st_size
    return {
        "file": str(file),
        "bytes": length,
        "records": counted(archive.backup.records),
        "revision": archive.header.revision,
        "domain": archive.header.domain,
        "created": archive.header.created,
        "keys": bool(archive.files),
    }


def fetch_to_stdout(api: ServerApi, keys: bool) -> None:
    """Write the server's backup to standard output, which must not be a terminal."""
    if sys.stdout.isatty():
        raise UsageError("a backup is no text for a terminal; redirect it, or give a FILE")
    with _writing(Path("standard output"), None):
        for block in _blocks(api, keys):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _receive(api: ServerApi, part: Path, keys: bool) -> None:
    with os.fdopen(create_private(part), "wb") as out:
        for block in _blocks(api, keys):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())


def _blocks(api: ServerApi, keys: bool) -> Iterator[bytes]:
    progress, came = Progress(), 0
    try:
        for block in api.stream(f"/api/v1/backup{'?keys=true' if keys else ''}", timeout=WAIT):
            yield block
            came += len(block)
            progress.say(f"{size(came)} of the backup are written")
    finally:
        progress.end()


@contextmanager
def _writing(file: Path, part: Path | None) -> Iterator[None]:
    """Errors of the disk become one line, and the unfinished file goes, however it ends."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(f"{file}: cannot write: {error.strerror}; give another FILE") from None
    except FileNotFoundError:
        text = f"there is no folder {file.parent}; make it, or give FOLDER/, which is made; there is no backup"
        raise StateError(f"{file}: cannot write: {text}") from None
    except OSError as error:
        raise StateError(
            f"{file}: cannot write: {error.strerror or error}; make room or give another FILE; there is no backup"
        ) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


# -- restore and migrate


def opened(file: Path) -> Archive:
    """What is in a backup file, read whole; StateError where it can't be used."""
    progress = Progress()

    def seen(records: int) -> None:
        progress.say(f"{records} records are read")

    try:
        if str(file) == PIPED:
            return reading.read_from(_stdin(), "standard input", seen)
        return reading.read(file, seen)
    finally:
        progress.end()


def _stdin() -> IO[bytes]:
    if sys.stdin.isatty():
        raise UsageError("a backup is not typed at a terminal; pipe it in, or give a FILE")
    return sys.stdin.buffer


@contextmanager
def tidying(program: Program) -> Iterator[None]:
    """Where it is refused, the folders that were made for it go, unless something is in them."""
    before = _folders(program.folders.state)
    try:
        yield
    except BaseException:
        for made in sorted(_folders(program.folders.state) - before, reverse=True):
            with suppress(OSError):
                made.rmdir()
        raise


def _folders(state: Path) -> set[Path]:
    server = state.absolute() / "server"
    return {path for path in (*server.parents, server, *server.glob("*")) if os.path.isdir(path)}


def warnings(program: Program, archive: Archive) -> Iterator[str]:
    """What the operator must know, and wish, before a restore."""
    if restoring.needs_new_keys(archive, program.folders.server):
        yield (
            f"neither the backup nor {program.folders.server} has control.key: the server will make a new one, and "
            "every node, which trusts the old one alone, must join again with a new token (gwctl preauthkeys create)"
        )


def put_back(program: Program, archive: Archive, url: str | None, force: bool) -> dict[str, Any]:
    """Restore into the configured storage, or the one at this URL."""
    _check_none_runs(program)
    server = _server(program, url)
    folder, config = program.folders.server, server.config.server
    aside = asyncio.run(restoring.restore(archive, server.storage(), folder, config, os.urandom, replace=force))
    files.hand_over(folder)
    return {"records": counted(archive.backup.records), "revision": archive.header.revision, "aside": list(aside)}


def move(program: Program, source: str | None, target: str, force: bool) -> dict[str, Any]:
    """Copy the database at one URL, or the configured one, to another."""
    _check_none_runs(program)
    old, new = _server(program, source).storage(), _server(program, target).storage()
    records, aside = asyncio.run(restoring.move(old, new, replace=force))
    files.hand_over(program.folders.server)
    return {"records": records, "to": target, "aside": [aside] if aside else []}


def counted(records: Sequence[Record]) -> Mapping[str, int]:
    """How many records there are of each kind, by tag."""
    found = Counter(map(type, records))
    return {tag: found[kind] for tag, kind in layout.KINDS.items() if found[kind]}


def _check_none_runs(program: Program) -> None:
    if pid := ServerApi(program.folders).listener():
        raise StateError(f"a server runs here (process {pid}); stop it first")


def _server(program: Program, url: str | None) -> Server:
    """The server as `ghostwire server` would compose it, with this database."""
    from ghostwire.plugins.host import Host
    from ghostwire.plugins.selection import Selection
    from ghostwire.server.server import Server

    config = Program(program.file, program.folders.given, program.named).config
    if url is not None:
        config = config.stored_at(storage_url(url))
    return Server(Host.compose("server", Selection(config, program.named)), config, program.folders)
