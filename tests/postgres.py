"""A throw-away PostgreSQL for tests: a cluster of this process's own, and a proxy that cuts a server off from it.

Where its programs are missing, `available` says why, and tests skip.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

USERS = ("postgres", "nobody")
"""Who runs it where we are root, which it refuses to be run by."""
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
SETTINGS = ("shared_buffers=16MB", "max_connections=60", "autovacuum=off", "listen_addresses=127.0.0.1")
PATIENCE = 60.0


def programs() -> Path | None:
    """The folder of initdb and postgres: Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def missing() -> str:
    """Why no PostgreSQL can be run here; empty where one can."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"PostgreSQL's library is missing: {error}"
    return "" if programs() else "PostgreSQL is not installed (scripts/setup test does it)"


class Cluster:
    """A PostgreSQL of our own on a free port of the loopback; ``durable`` where a test is about that."""

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="gwpg")), free_port()
        self._settings = (*SETTINGS, *(() if durable else FAST), *settings)
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._programs = programs()
        if self._user:
            shutil.chown(self.folder, self._user, "nogroup")
        self._run("initdb", "-D", self.data, "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The process that all its others descend from."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it, and wait until it answers."""
        settings = [word for setting in self._settings for word in ("-c", setting)]
        command = [self._program("postgres"), "-D", self.data, "-p", str(self.port), "-k", self.folder, *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as_user())
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, f"PostgreSQL ended: {(self.folder / 'log').read_text()[-500:]}"
            assert time.monotonic() < until, "PostgreSQL does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order: connections are closed, transactions undone."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a crash would: nothing is written any more."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """End it and leave nothing behind; harmless when called twice."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, *, encoding: str = "UTF8") -> str:
        """The URL of a new empty database."""
        name = f"mesh{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'")
        return self.url(name)

    def url(self, name: str, *, port: int | None = None, user: str = "admin") -> str:
        """Where that database is, possibly by way of a proxy's port."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{name}"

    def execute(self, statement: str, url: str = "") -> list[Any]:
        """Run a statement as the cluster's owner; its rows."""
        import psycopg

        with closing(psycopg.connect(url or self.url("postgres"), autocommit=True)) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.send_signal(by)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._program(program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self.folder, **self._as_user())
        assert done.returncode == 0, done.stderr.decode()

    def _program(self, name: str) -> Path:
        assert self._programs is not None, missing()
        return self._programs / name

    def _as_user(self) -> dict[str, Any]:
        own = {"env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        return {**own, "user": self._user, "group": "nogroup", "extra_groups": []} if self._user else own


def free_port() -> int:
    """A TCP port of the loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _unprivileged() -> str:
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in known)


@contextmanager
def running(*, durable: bool = False, settings: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """A cluster that runs, removed at the end."""
    cluster = Cluster(durable=durable, settings=settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


class Proxy:
    """A TCP proxy on the loopback in a thread of its own: what is behind it can be stalled, slowed, cut off, or made to
    lose an answer. All methods may be called from any thread, and hold for connections there are and those to come."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._behind = port
        self._loop = asyncio.new_event_loop()
        self._flowing, self._refusing, self._losing = asyncio.Event(), False, b""
        self._delay = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.lost = threading.Event()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.resume()

    def pause(self) -> None:
        """Let nothing through, as a firewall that drops."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Let through what waits and what comes."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def slow(self, seconds: float) -> None:
        """Let each piece through so much later; 0: at once."""
        self._delay = seconds

    def cut(self) -> None:
        """Close all connections, and each new one at once, until `heal`."""
        self._refusing = True
        self._do(self._drop())

    def heal(self) -> None:
        """Take connections again."""
        self._refusing = False

    def lose_answer_to(self, words: bytes) -> None:
        """Pass on the next request that has these words in it, then drop its answer and the connection; once. `lost`
        is set then."""
        self.lost.clear()
        self._losing = words

    def close(self) -> None:
        """End it and its connections."""
        self.cut()
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            behind = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, behind[1]}
        answers = asyncio.Event()
        answers.set()
        try:
            await asyncio.gather(
                self._pump(reader, behind[1], writer, answers), self._pump(behind[0], writer, behind[1], answers)
            )
        except asyncio.CancelledError:
            return  # by `close`; asyncio would have it told
        finally:
            self._open -= {writer, behind[1]}

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        answers: asyncio.Event,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self._delay)
                await self._flowing.wait()
                if not answers.is_set():
                    self.lost.set()
                    back.transport.abort()
                    break
                if self._losing and self._losing in data:
                    self._losing = b""
                    answers.clear()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
