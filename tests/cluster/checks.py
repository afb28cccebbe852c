"""What must be so once nobody asks for anything any more and all faults are over."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

from tests.cluster.administrator import sees
from tests.cluster.history import FAILED, OK, History
from tests.cluster.log import FINDERS, Log
from tests.cluster.members import Member
from tests.cluster.world import World, now

from ghostwire.errors import GhostwireError
from ghostwire.model import NetworkMap, Node, PolicyVersion, PreAuthKey, Record, Route, User

PATIENCE, IN_VAIN = 90.0, 10.0
"""Seconds until all is at rest; where a rule is broken already, it may never be."""
LISTS = (("nodes", "nodes"), ("users", "users"), ("preauthkeys", "keys"), ("routes", "routes"))
KINDS: dict[str, type[Record]] = {"nodes": Node, "users": User, "keys": PreAuthKey, "routes": Route}
FIELDS = {
    "nodes": ("name", "stable_id", "addresses", "tags", "node_key", "machine_key"),
    "users": ("name", "stable_id"),
    "keys": ("uses", "reusable", "tags"),
}


async def at_rest(world: World) -> None:
    """Wait for rest, then compare everything; what is wrong goes to the history."""
    history = world.history
    if not await world.all_in(PATIENCE):
        out = [each.number for each in world.missing()]
        history.violated("everybody is in the mesh in the end", f"not machines {out}")
    for member in world.members:
        member.overdue()
    stored = await asyncio.to_thread(world.log.stored)
    _same(history, "the log leads to what the tables hold", world.log.records, stored)
    for server in world.servers:
        await _settled(world, server.folder.name, server)
    await _maps(world)
    writes(history, world.log)
    _keys(history, world.log)
    _members(world)
    for server in world.servers:
        if "Traceback" in server.log:
            at = server.log.index("Traceback")
            history.violated("no server meets a bug", f"{server.folder.name}: {server.log[at - 300 : at + 2000]}")


def writes(history: History, log: Log) -> None:
    """Each acknowledged write happened once, each refused one never, each other once at most; in the order of time."""
    placed = []
    for operation in history.operations:
        if operation.kind not in FINDERS:
            continue
        found = log.where(operation)
        most, least = (0, 0) if operation.outcome == FAILED else (operation.times, int(operation.outcome == OK))
        if len(found) < least:
            history.violated("no acknowledged write is lost", operation)
        if len(found) > most:
            history.violated("a write happens once, a refused one never", f"{operation}: revisions {found}")
        placed += [(operation.began, operation.ended, revision) for revision in found[:1]]
    placed.sort(key=lambda each: each[0])
    ends = sorted((ended, revision) for _, ended, revision in placed)
    newest = following = 0
    for began, _, revision in placed:
        while following < len(ends) and ends[following][0] < began:
            newest, following = max(newest, ends[following][1]), following + 1
        if revision < newest:
            history.violated("writes are in the order of time", f"revision {revision} began after {newest} ended")


def _keys(history: History, log: Log) -> None:
    """As many keys as were asked for, and a one-use key let one machine in."""
    made = {record.id for _, kind, _, _, record in log.changes if kind is PreAuthKey and record is not None}
    told = [each for each in history.of("new key") if each.outcome == OK]
    unsure = sum(each.outcome not in (OK, FAILED) for each in history.of("new key"))
    first = sum(key.reusable for key in log.all(PreAuthKey) if key.id <= 3)
    if not len(told) <= len(made) - first <= len(told) + unsure:
        history.violated("a write happens once, a refused one never", f"{len(made) - first} keys for {len(told)} asked")
    brought: dict[int, set[Any]] = defaultdict(set)
    for _, _, _, _, record in log.changes:
        if isinstance(record, Node) and record.pre_auth_key is not None:
            brought[record.pre_auth_key].add(record.machine_key)
    for key in log.all(PreAuthKey):
        if not key.reusable and len(brought[key.id]) > 1:
            history.violated("a one-use key lets one machine in", f"key {key.id}: {len(brought[key.id])} machines")


def _members(world: World) -> None:
    """Whoever was let in is there, unless its removal was asked for."""
    nodes = {node.machine_key: node for node in world.log.all(Node)}
    for member in world.members:
        node = nodes.get(member.machine_key)
        if member.id and not member.leaving and (node is None or node.id != member.id):
            world.history.violated("no acknowledged write is lost", f"machine {member.number}, node {member.id}")


def _patience(history: History) -> float:
    return now() + (IN_VAIN if history.violations else PATIENCE)


async def _settled(world: World, name: str, server: Any) -> None:
    """The server says what the log says, in the end."""
    until = _patience(world.history)
    different = "no answer"
    while now() < until:
        with suppress(GhostwireError):
            different = await _difference(world.log, server)
            if not different:
                return
        await asyncio.sleep(0.5)
    world.history.violated("all servers come to hold what is stored", f"{name}: {different}")


async def _difference(log: Log, server: Any) -> str:
    await asyncio.to_thread(log.read)
    shown = {name: await server.list(f"/api/v1/{path}", name) for path, name in LISTS}
    version = (await server.ask("GET", "/api/v1/policy"))["version"]
    held = {(name, each["id"]): _shown(name, each) for name, found in shown.items() for each in found}
    stored = {(name, each.id): _stored(name, each) for name, kind in KINDS.items() for each in log.all(kind)}
    held["policy", 0], stored["policy", 0] = version, log.all(PolicyVersion)[-1].id
    return str(_unlike(held, stored)) if held != stored else ""


def _shown(name: str, found: dict[str, Any]) -> tuple[Any, ...]:
    """What a server's list says of it, as `_stored` has it."""
    if name == "routes":
        return found["prefix"], found["state"] == "approved"
    values = (found[field] for field in FIELDS[name])
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)


def _stored(name: str, record: Any) -> tuple[Any, ...]:
    if name == "routes":
        return record.prefix, record.approved
    values = (getattr(record, field) for field in FIELDS[name])
    return tuple(value if isinstance(value, int | tuple) else str(value) for value in values)


async def _maps(world: World) -> None:
    """Every member holds what it may see, and nothing else, as it is."""
    until = _patience(world.history)
    while wrong := _wrong(world):
        if now() > until:
            world.history.violated("maps are what records and policy make of them", wrong)
            return
        await asyncio.sleep(0.3)
        await asyncio.to_thread(world.log.read)
    for member in world.members:
        if member.mapped.is_set():
            await _refreshed(world.history, member)


def _wrong(world: World) -> str:
    return next((text for each in world.members if each.mapped.is_set() and (text := _of_one(world, each))), "")


def _of_one(world: World, member: Member) -> str:
    log = world.log
    meetings = world.administrator.meetings[log.all(PolicyVersion)[-1].note]
    viewer = log.records.get((Node, member.id))
    if not isinstance(viewer, Node):
        return f"machine {member.number} is connected and no node"
    seen = {node.id: node for node in log.all(Node) if sees(meetings, viewer.tags[0], node.tags[0])}
    held = member.map.nodes
    if held.keys() != seen.keys():
        return f"machine {member.number}: {held.keys() - seen.keys()} too many, {seen.keys() - held.keys()} missing"
    fields = ("stable_id", "name", "node_key", "disco_key", "addresses", "user", "tags")
    for id_, node in seen.items():
        if any(getattr(held[id_], field) != getattr(node, field) for field in fields):
            return f"machine {member.number}: {held[id_]} for {node}"
    return ""


async def _refreshed(history: History, member: Member) -> None:
    """What it holds is what a server would tell it anew."""
    try:
        whole = await member.refreshed()
    except (OSError, TimeoutError) as error:
        history.violated("a member gets its whole map", f"machine {member.number}: {error!r}")
        return
    for part in ("nodes", "rules", "sets", "routes", "relays", "own_labels"):
        if getattr(member.map, part) != getattr(whole, part):
            text = f"machine {member.number}: {part}: {_difference_of(member.map, whole, part)}"
            history.violated("a map that grew is the map that is told anew", text)


def _difference_of(held: NetworkMap, told: NetworkMap, part: str) -> str:
    one, other = getattr(held, part), getattr(told, part)
    return str(_unlike(one, other)) if isinstance(one, dict) else f"{one} and {other}"


def _same(history: History, rule: str, one: dict[Any, Record], other: dict[Any, Record]) -> None:
    if one != other:
        history.violated(rule, _unlike(one, other))


def _unlike(one: dict[Any, Any], other: dict[Any, Any]) -> dict[Any, Any]:
    """A few places where they differ."""
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)][:3]
    return {key: (one.get(key), other.get(key)) for key in keys}
