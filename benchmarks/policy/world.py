"""A large mesh and its policy, made by chance from a seed: records as the server stores them, and the policy's text."""

from __future__ import annotations

import json
import random
from typing import Any

from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Node, Route, User

USERS, GROUPS, TAGS, HOSTS, SUBNETS, RULES = 500, 200, 80, 300, 20, 2000
OWN_RULES = 5
DOMAIN = "example.com"


class World:
    """``users``, ``nodes`` and ``routes`` are records; ``policy`` is the text's object."""

    def __init__(self, nodes: int, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self.users = [
            User(id=number, stable_id=f"u{number}", name=f"user{number}", email=f"user{number}@{DOMAIN}")
            for number in range(1, USERS + 1)
        ]
        self.nodes = [self.node(number) for number in range(1, nodes + 1)]
        routers = self.nodes[:: max(nodes // SUBNETS, 1)][:SUBNETS]
        self.routes = [
            Route(id=number, node=router.id, prefix=f"10.{number}.0.0/16", approved=True)
            for number, router in enumerate(routers, 1)
        ]
        self.policy = self._policy()

    @property
    def text(self) -> str:
        """The policy as an operator stores it."""
        return json.dumps(self.policy, indent=1)

    def node(self, number: int) -> Node:
        """Two thirds belong to people, the others carry a tag or two."""
        chance, raw = self._chance, number.to_bytes(32, "big")
        tagged = chance.random() < 1 / 3
        return Node(
            id=number,
            stable_id=f"n{number}",
            name=f"node{number}",
            user=chance.randint(1, USERS),
            machine_key=MachineKey(raw),
            node_key=NodeKey(raw),
            disco_key=DiscoKey(raw),
            addresses=(f"100.64.{number >> 8}.{number & 255}", f"fd7a:115c:a1e0::{number:x}"),
            tags=tuple(chance.sample([f"tag:t{tag}" for tag in range(TAGS)], chance.randint(1, 2))) if tagged else (),
            created=1,
        )

    def with_a_rule_edited(self) -> str:
        """The text, one rule between two aliases leading elsewhere."""
        acls = [dict(rule) for rule in self.policy["acls"]]
        place = next(i for i, rule in enumerate(acls) if rule["dst"][0].startswith("host"))
        acls[place]["dst"] = ["host7:4433"]
        acls[place]["src"] = ["host9"]
        return json.dumps({**self.policy, "acls": acls}, indent=1)

    def _policy(self) -> dict[str, Any]:
        chance = self._chance
        people = [user.email for user in self.users]
        return {
            "groups": {f"group:g{n}": chance.sample(people, chance.randint(2, 25)) for n in range(GROUPS)},
            "tagOwners": {f"tag:t{n}": [f"group:g{n % GROUPS}"] for n in range(TAGS)},
            "hosts": {f"host{n}": chance.choice(self.nodes).addresses[0] for n in range(HOSTS)}
            | {f"net{n}": f"10.{n}.0.0/16" for n in range(1, SUBNETS + 1)},
            "acls": [self._rule(number) for number in range(RULES)],
        }

    def _rule(self, number: int) -> dict[str, Any]:
        chance = self._chance
        ports = chance.choice(("22", "443", "80,443", "8000-8100", "*"))
        if number < OWN_RULES:
            own = ("autogroup:member", f"group:g{number}")[number % 2]
            return {"action": "accept", "src": [own], "dst": [f"autogroup:self:{1000 + number}"]}
        if number < OWN_RULES + 2:
            return {"action": "accept", "src": ["autogroup:member"], "dst": [f"tag:t{number}:443"]}
        return {"action": "accept", "src": [self._source()], "dst": [f"{self._destination()}:{ports}"]}

    def _source(self) -> str:
        chance = self._chance
        kind = chance.choices(("group", "user", "tag", "host"), (10, 5, 2, 3))[0]
        made = {
            "group": f"group:g{chance.randrange(GROUPS)}",
            "user": chance.choice(self.users).email,
            "tag": f"tag:t{chance.randrange(TAGS)}",
            "host": f"host{chance.randrange(HOSTS)}",
        }
        return made[kind]

    def _destination(self) -> str:
        chance = self._chance
        kind = chance.choices(("tag", "host", "group", "net"), (8, 8, 2, 2))[0]
        made = {
            "tag": f"tag:t{chance.randrange(TAGS)}",
            "host": f"host{chance.randrange(HOSTS)}",
            "group": f"group:g{chance.randrange(GROUPS)}",
            "net": f"net{chance.randint(1, SUBNETS)}",
        }
        return made[kind]
