"""An administrator who changes the mesh all the time, over the API, through the balancer."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import uuid
from typing import TYPE_CHECKING, Any

from tests.cluster.history import Operation

if TYPE_CHECKING:
    from tests.cluster.world import World

TIMEOUT = 15.0
AGAIN = 8
"""Attempts of a request that may come again."""
DEFINITE = range(400, 500)
TAGS = ("tag:a", "tag:b", "tag:c")
MEETINGS = [pair for size in range(4) for pair in itertools.combinations(itertools.combinations(TAGS, 2), size)]
"""Which tags see each other beside themselves: what policies differ in."""


class Administrator:
    """``key`` is the API key that opens the API."""

    def __init__(self, world: World, port: int, key: str) -> None:
        self._world, self._port, self._key = world, port, key
        self.users: list[int] = []
        self.meetings: dict[str, Any] = {}
        """What the policy with this note says."""

    async def run(self) -> None:
        """One thing after another."""
        while True:
            await self._world.random.choice(self._actions())()
            await asyncio.sleep(self._world.random.uniform(0.0, 0.4))

    def _actions(self) -> list[Any]:
        common = [self.rename_node] * 4 + [self.delete_node] * 2 + [self.add_user] * 2
        return [*common, self.rename_user, self.delete_user, self.set_policy, self.revoke_key, self.approve_route]

    async def new_key(self, *, reusable: bool, tag: str) -> dict[str, Any] | None:
        """A pre-auth key with its token; None where nobody answers."""
        order = {"reusable": reusable, "tags": [tag], "ttl_seconds": 86400}
        operation = self._world.history.begin("new key", None)
        made = await self._safely(operation, "/api/v1/preauthkeys", order)
        if made is not None:
            self._world.history.holds("key", made["key"]["id"], operation.number)
            self._world.history.holds("token", made["token"], operation.number)
        return made

    async def rename_node(self) -> None:
        """Give somebody a name that nobody had."""
        member = self._world.somebody()
        if member is not None:
            operation = self._begin("rename node", member.id, "n")
            await self._once(operation, "PATCH", f"/api/v1/nodes/{member.id}", {"name": operation.value})

    async def delete_node(self) -> None:
        """Remove somebody for good."""
        member = self._world.somebody(core=False)
        if member is not None and not member.leaving:
            member.leaving = True
            await self._once(self._begin("delete node", member.id), "DELETE", f"/api/v1/nodes/{member.id}")

    async def add_user(self) -> None:
        """Somebody comes."""
        operation = self._begin("add user", None, "u")
        made = await self._safely(operation, "/api/v1/users", {"name": operation.value})
        if made is not None:
            self.users.append(made["id"])
            self._world.history.holds("user", made["id"], operation.number)

    async def rename_user(self) -> None:
        """Somebody is called otherwise."""
        if self.users:
            id_ = self._world.random.choice(self.users)
            operation = self._begin("rename user", id_, "u")
            await self._once(operation, "PATCH", f"/api/v1/users/{id_}", {"name": operation.value})

    async def delete_user(self) -> None:
        """Somebody goes."""
        if self.users:
            id_ = self.users.pop(self._world.random.randrange(len(self.users)))
            await self._once(self._begin("delete user", id_), "DELETE", f"/api/v1/users/{id_}")

    async def set_policy(self) -> None:
        """Let other tags see each other."""
        meetings = self._world.random.choice(MEETINGS)
        operation = self._begin("set policy", None, "p")
        self.meetings[operation.value] = meetings
        body = {"source": f"// {operation.value}\n{policy(meetings)}", "note": operation.value}
        await self._once(operation, "PUT", "/api/v1/policy", body, {"If-Match": "*"})

    async def revoke_key(self) -> None:
        """Make a key and revoke it."""
        made = await self.new_key(reusable=True, tag=TAGS[0])
        if made is not None:
            id_ = made["key"]["id"]
            operation = self._world.history.begin("revoke key", id_, True)
            await self._once(operation, "POST", f"/api/v1/preauthkeys/{id_}/revoke", {})

    async def approve_route(self) -> None:
        """Approve a route that waits for somebody's word."""
        status, found = await self._ask("GET", "/api/v1/routes?limit=500", None, {})
        asked = {each.about for each in self._world.history.of("approve route")}
        waiting = [each["id"] for each in found.get("routes", ()) if each["state"] == "waiting"]
        waiting = [id_ for id_ in waiting if id_ not in asked] if status == 200 else []
        if waiting:
            operation = self._world.history.begin("approve route", waiting[0], True)
            await self._once(operation, "POST", f"/api/v1/routes/{waiting[0]}/approve", {})

    def _begin(self, kind: str, about: Any, letter: str = "") -> Operation:
        operation = self._world.history.begin(kind, about)
        operation.value = f"{letter}{operation.number}" if letter else None
        return operation

    async def _once(
        self, operation: Operation, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        status, answer = await self._ask(method, path, body, headers or {})
        self._judge(operation, status, answer)

    async def _safely(self, operation: Operation, path: str, body: Any) -> dict[str, Any] | None:
        """A request that is carried out once however often it comes; None where nobody said how it ended."""
        headers = {"Idempotency-Key": str(uuid.UUID(int=self._world.random.getrandbits(128)))}
        for _ in range(AGAIN):
            status, answer = await self._ask("POST", path, body, headers)
            if 0 < status < 500:
                break
            await asyncio.sleep(1)
        self._judge(operation, status, answer)
        return answer if 200 <= status < 300 else None

    def _judge(self, operation: Operation, status: int, answer: dict[str, Any]) -> None:
        if 200 <= status < 300:
            operation.ok(answer.get("id"))
        elif status in DEFINITE:
            operation.failed(answer)
            if status == 404 and operation.kind == "revoke key":
                self._world.history.violated("what was acknowledged is found at every server", operation)
            if status in (400, 401, 403, 429):
                self._world.history.violated("the administrator is let in", f"{operation}: {status}")
        elif status == 500:
            self._world.history.violated("no request fails inside", f"{operation}: {answer}")

    async def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and answer; status 0 where there was none."""
        status, answer = await asyncio.to_thread(self._asked, method, path, body, headers)
        self._world.history.counts[f"{method} {status}"] += 1
        return status, answer

    def _asked(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            sent = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", **headers}
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()


def policy(meetings: Any) -> str:
    """Each tag sees its own, and these see each other."""
    pairs = [*((tag, tag) for tag in TAGS), *meetings]
    rules = [{"action": "accept", "src": [one], "dst": [f"{other}:*"]} for one, other in pairs]
    return json.dumps({"tagOwners": {tag: [] for tag in TAGS}, "acls": rules})


def sees(meetings: Any, one: str, other: str) -> bool:
    """Whether nodes of these tags see each other, which they do where a rule leads either way."""
    return one == other or (one, other) in meetings or (other, one) in meetings
