"""The policy in force and its versions: read, checked and tested before one is stored, and never replaced unseen."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Literal, TypeVar

import msgspec

from ghostwire.capabilities.policy import Bearer, CompiledPolicy, Person, PolicyEngine
from ghostwire.capabilities.storage import Commit, Transaction
from ghostwire.errors import Conflict, Finding, GhostwireError, NotFound, PluginError, PolicyError, Refused, StateError
from ghostwire.hints import one_line
from ghostwire.model import Node, PolicyVersion, Route, User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.names import NOTE
from ghostwire.server.policy import labels
from ghostwire.server.policy.bearers import all_bearers, person
from ghostwire.server.policy.open import AllowAll, DenyAll
from ghostwire.wire.api_errors import TooLarge

MAX_SOURCE = 4 << 20
"""Bytes of a policy's text."""
KEPT, KEPT_BYTES = 200, 64 << 20
"""How many versions are kept at most, the one in force always, and how much text."""
MAX_NOTE = 200
PACE = 0.01
"""Seconds that putting a policy in force takes at a stretch."""

T = TypeVar("T")


class Checked(msgspec.Struct, frozen=True):
    """What is wrong with a text, its own tests that fail included, and what is doubtful. Without errors it can be
    stored."""

    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


class Policies:
    """Keeps the policy that ``engine`` reads; without one, or without a policy, what ``without`` says holds."""

    def __init__(
        self, mesh: LiveMesh, engine: PolicyEngine | None, without: Literal["allow", "deny"], log: logging.Logger
    ) -> None:
        self._mesh, self._engine, self._log = mesh, engine, log
        self._followers: list[Callable[[CompiledPolicy], None]] = []
        self._lock = asyncio.Lock()
        self._read: tuple[str, CompiledPolicy] | None = None
        self._stored: PolicyVersion | None = None
        self._task: asyncio.Task[None] | None = None
        self.adopting: Callable[[CompiledPolicy], Iterable[None]] = _at_once
        """Puts a policy in force where it is enforced, in small steps between which other work gets its turn."""
        self.settled: Callable[[], object] = _nothing
        """Called when the last version stored is in force, or cannot be."""
        self.current: CompiledPolicy = DenyAll() if engine and without == "deny" else AllowAll()
        self.version: PolicyVersion | None = None
        self.warning = _warning(engine, without)

    @property
    def engine(self) -> str | None:
        """The name of the engine that reads policies; None: none is selected."""
        return self._engine.name if self._engine else None

    def start(self) -> None:
        """Put the stored policy in force, once the mesh is open.

        PluginError where its engine is not selected, StateError where that can no longer read it: a policy that is not
        enforced must not seem to be.
        """
        newest = _newest(self._mesh.list(PolicyVersion))
        if newest is None:
            self._log.warning("%s", self.warning)
            return
        try:
            compiled = self._compiled(newest)
        except PolicyError as error:
            raise StateError(
                f"the stored policy, version {newest.id}, is wrong for {newest.engine} as it is now: {error}; "
                "start with the release that stored it, mend the policy, then come back"
            ) from None
        self._enforce(newest, compiled)

    def follow(self, follower: Callable[[CompiledPolicy], None]) -> None:
        """Call this with every policy that comes into force later."""
        self._followers.append(follower)

    def committed(self, commit: Commit) -> None:
        """Take over what a commit stored, this server's own versions and others'."""
        written = (change.record for change in commit.changes if change.kind is PolicyVersion)
        newest = _newest(record for record in written if isinstance(record, PolicyVersion))
        if newest is None:
            return
        if newest.id > self._number:
            self._stored = newest
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._catch_up())
        elif self._task is None:  # it came while the server started, and was read with the records
            self.settled()

    async def close(self) -> None:
        """Put nothing more in force; harmless when called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def describe(self) -> dict[str, Any]:
        """What holds, for programs, and as a line for people."""
        version = self.version
        by = f" by {version.author}" if version and version.author else ""
        said = f"version {version.id}{by}" if version else self.warning
        return {"engine": self.engine, "version": self._number or None, "summary": said}

    def unnamed(self, tags: Sequence[str]) -> Sequence[str]:
        """Those of the tags that no access rule of the policy in force names: nobody is reached or let in by them."""
        named = {name for rule in self.current.rules for name in (*rule.sources, *rule.destinations)}
        return [tag for tag in tags if self.version is not None and tag not in named]

    def history(self) -> Sequence[PolicyVersion]:
        """The versions that are kept, the newest last."""
        return self._mesh.list(PolicyVersion)

    def get(self, number: int) -> PolicyVersion:
        """One version; NotFound where it is not kept."""
        found = self._mesh.state.get(PolicyVersion, number)
        if found is None:
            raise NotFound(f"there is no version {number} of the policy (any more); see: gwctl policy history")
        return found

    async def check(self, source: str) -> Checked:
        """What would keep this text from being stored."""
        try:
            compiled, failures = await self._examined(source)
        except PolicyError as error:
            return Checked(errors=error.findings)
        return Checked(tuple(failures), tuple(compiled.warnings))

    async def test(self) -> Sequence[Finding]:
        """Which tests of the policy in force fail in the mesh as it is now."""
        if self.version is None:
            return ()
        work, mesh = self._reader(self.version).test, self._mesh_now()
        return await self._apart(lambda: work(self.current, *_parties(*mesh)))

    async def set(self, source: str, author: str, *, expected: int | None, note: str = "") -> PolicyVersion:
        """Store a text as the next version and put it in force; the one in force where it has the same text.

        ``expected`` is the version that the author looked at (0: none was there), None: whatever it was. Conflict
        where another is in force; PolicyError with every finding where the text is wrong or its tests fail.
        """
        check_note(note)
        async with self._lock:
            held = self.version
            if expected not in (None, self._number):
                raise self._stale(expected)
            if held is not None and (held.source, held.engine) == (source, self.engine):
                return held
            compiled, failures = await self._examined(source)
            if failures:
                raise PolicyError(failures)
            self._read = (source, compiled)
            fields = {"source": source, "author": author, "note": note, "engine": self.engine, "created": self._now}
            base = None if expected is None else self._number
            work = partial(_store, fields=fields, base=base, superfluous=self._outlived(source))
            stored = await self._mesh.write(work)
            await self.caught_up()
            return stored

    async def rollback(self, number: int, author: str, *, expected: int | None) -> PolicyVersion:
        """Put an earlier version's text in force again, as a version of its own."""
        return await self.set(self.get(number).source, author, expected=expected, note=f"rollback to {number}")

    @property
    def _now(self) -> int:
        return self._mesh.now()

    @property
    def _number(self) -> int:
        return self.version.id if self.version else 0

    def _stale(self, expected: int | None) -> Conflict:
        by = f", by {self.version.author}" if self.version and self.version.author else ""
        return Conflict(
            f"the policy in force is version {self._number}{by}, not {expected}, which you looked at; nothing was "
            "stored: look at `gwctl policy diff FILE` and set it again",
            STALE,
        )

    def _reader(self, version: PolicyVersion) -> PolicyEngine:
        """The engine of a version; PluginError where it is not the selected one."""
        if self._engine is None or self._engine.name != version.engine:
            there = f"but {self._engine.name!r} is" if self._engine else "as no policy engine is"
            raise PluginError(
                "",
                f"version {version.id} of the policy is stored here for the engine {version.engine!r}, which is not "
                f"selected, {there}: select its plugin again (see `ghostwire plugins`), for a policy that is not "
                "enforced must not seem to be",
            )
        return self._engine

    def _compiled(self, version: PolicyVersion) -> CompiledPolicy:
        engine = self._reader(version)
        if self._read is not None and self._read[0] == version.source:
            return self._read[1]
        return self._blaming(lambda: engine.compile(version.source))

    async def caught_up(self) -> None:
        """Wait until what was stored is in force."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _catch_up(self) -> None:
        """Put the last version stored in force, and what is stored meanwhile."""
        try:
            while self._stored is not None:
                version, self._stored = self._stored, None
                await self._adopt(version)
        finally:
            self._task = None
            self.settled()

    async def _adopt(self, version: PolicyVersion) -> None:
        try:
            compiled = await self._apart(lambda: self._compiled(version))
            await self._step_by_step(compiled)
        except GhostwireError as error:
            self._log.error("version %d of the policy is not enforced here: %s", version.id, error)
        except Exception:
            self._log.exception("version %d of the policy is not enforced here: internal error", version.id)
        else:
            self._enforce(version, compiled)

    async def _step_by_step(self, compiled: CompiledPolicy) -> None:
        begun = monotonic()
        for _ in self.adopting(compiled):
            if monotonic() - begun > PACE:
                await asyncio.sleep(0)
                begun = monotonic()

    def _enforce(self, version: PolicyVersion, compiled: CompiledPolicy) -> None:
        self.version, self.current, self._read = version, compiled, None
        told = (version.id, version.author or "nobody known", version.note or "no note", len(compiled.rules))
        self._log.info("policy: version %d by %s (%s) is in force: %d rules", *told)
        for follower in self._followers:
            follower(compiled)

    async def _examined(self, source: str) -> tuple[CompiledPolicy, Sequence[Finding]]:
        """A text compiled, and which of its tests fail; PolicyError where it is wrong. Beside the loop."""
        engine = self._engine
        if engine is None:
            raise NotFound("no policy engine is selected; see `ghostwire plugins`")
        if len(source.encode()) > MAX_SOURCE:
            raise TooLarge(f"a policy has at most {MAX_SOURCE} bytes")
        mesh = self._mesh_now()

        def examine() -> tuple[CompiledPolicy, Sequence[Finding]]:
            compiled = engine.compile(source)
            labels.check(compiled.rules)
            return compiled, engine.test(compiled, *_parties(*mesh))

        return await self._apart(examine)

    async def _apart(self, work: Callable[[], T]) -> T:
        """Run an engine's work in a thread."""
        return await asyncio.to_thread(self._blaming, work)

    def _blaming(self, work: Callable[[], T]) -> T:
        """Run an engine's work; what it raises that is no error of ours is its plugin's fault."""
        try:
            return work()
        except GhostwireError:
            raise
        except Exception as error:
            self._log.exception("the policy engine %s failed", self.engine)
            raise PluginError("", f"the policy engine {self.engine} failed: {one_line(error)}; see the log") from None

    def _mesh_now(self) -> tuple[Sequence[User], Sequence[Node], Sequence[Route]]:
        return self._mesh.list(User), self._mesh.list(Node), self._mesh.list(Route)

    def _outlived(self, source: str) -> Sequence[int]:
        """The versions that go when this text comes."""
        room, gone = KEPT_BYTES - len(source), []
        for age, version in enumerate(reversed(self.history()), 1):
            room -= len(version.source)
            if age >= KEPT or room < 0:
                gone.append(version.id)
        return gone


def check_note(note: str) -> None:
    """Refused unless a version can have this note."""
    if re.fullmatch(NOTE, note) is None:
        raise Refused(f"a note is a line of at most {MAX_NOTE} characters", "usage")


STALE = "stale"
"""The code of a Conflict about a policy that is no longer the one in force."""


def _store(
    transaction: Transaction, *, fields: dict[str, Any], base: int | None, superfluous: Sequence[int]
) -> PolicyVersion:
    """The next version; Conflict where ``base`` is no longer the last, another server having stored one meanwhile."""
    version = PolicyVersion(id=transaction.new_id(PolicyVersion), **fields)
    if base is not None and any(transaction.get(PolicyVersion, id_) for id_ in range(base + 1, version.id)):
        raise Conflict("another version of the policy was stored at this moment; look at it and set yours again", STALE)
    for id_ in superfluous:
        transaction.delete(PolicyVersion, id_)
    transaction.put(version)
    return version


def _parties(
    users: Sequence[User], nodes: Sequence[Node], routes: Sequence[Route]
) -> tuple[Sequence[Person], Sequence[Bearer]]:
    return [person(user) for user in users], list(all_bearers(nodes, users, routes).values())


def _newest(versions: Iterable[PolicyVersion]) -> PolicyVersion | None:
    return max(versions, key=lambda version: version.id, default=None)


def _warning(engine: PolicyEngine | None, without: str) -> str:
    if engine is None:
        return "no policy engine is selected: every node may reach every other on every port"
    what = "every node may reach every other on every port" if without == "allow" else "no node may reach another"
    return f"no policy is stored: {what}, as without_policy = {without!r} under [server] says; see `gwctl policy set`"


def _at_once(_policy: CompiledPolicy) -> Iterable[None]:
    """Nobody enforces it step by step."""
    return ()


def _nothing() -> None:
    """Nobody wants to know."""
