"""What administrators do with users and nodes: make, rename, expire, delete. Each is one durable transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, NotFound, Refused
from ghostwire.model import Node, PreAuthKey, User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.names import is_label
from ghostwire.server.nodes import enrolment
from ghostwire.server.nodes.addresses import AddressPlan

MAX_USER_NAME = 64
R = TypeVar("R", Node, User)


class Administration:
    """Nodes and users are named by id or by name; NotFound where there is none."""

    def __init__(self, mesh: LiveMesh, plan: AddressPlan, entropy: Entropy) -> None:
        self._mesh, self._plan, self._entropy = mesh, plan, entropy

    def nodes(self) -> Sequence[Node]:
        """All nodes, by id."""
        return self._mesh.list(Node)

    def users(self) -> Sequence[User]:
        """All users, by id."""
        return self._mesh.list(User)

    def node(self, text: str) -> Node:
        """The node of that id or name."""
        state = self._mesh.state
        found = state.node_named(text) or (state.get(Node, int(text)) if _is_id(text) else None)
        if found is None:
            raise NotFound(f"no node is called {text!r}; see: gwctl nodes list")
        return found

    def user(self, text: str) -> User:
        """The user of that id or name."""
        state = self._mesh.state
        found = state.user_named(text) or (state.get(User, int(text)) if _is_id(text) else None)
        if found is None:
            raise NotFound(f"no user is called {text!r}; see: gwctl users list")
        return found

    async def rename_node(self, text: str, name: str) -> Node:
        """Give a node another name, a DNS label."""
        if not is_label(name) or name.isdecimal():
            raise Refused(f"{name!r} can't name a node: give 1 to 63 of a-z, 0-9 and -, not only digits", "usage")
        id_ = self.node(text).id

        def work(transaction: Transaction) -> Node:
            if any(other.id != id_ for other in transaction.find(Node, name=name)):
                raise Conflict(f"another node is called {name!r}")
            node = msgspec.structs.replace(_known(transaction.get(Node, id_)), name=name)
            transaction.put(node)
            return node

        return await self._mesh.write(work)

    async def expire_node(self, text: str) -> Node:
        """Stop accepting a node's key."""
        id_, now = self.node(text).id, self._mesh.now()
        return _known(await self._mesh.write(lambda transaction: enrolment.expire(transaction, id_, now)))

    async def delete_node(self, text: str) -> Node:
        """Take a node out of the mesh for good."""
        return _known(await self.remove(self.node(text).id))

    async def remove(self, id_: int) -> Node | None:
        """Take a node out of the mesh by its id; None where it is gone already."""
        now = self._mesh.now()
        return await self._mesh.write(lambda transaction: enrolment.remove(transaction, self._plan, id_, now))

    async def add_user(self, name: str) -> User:
        """Make a user of the server's own."""
        checked, now, stable_id = _user_name(name), self._mesh.now(), self._entropy(8).hex()
        return await self._mesh.write(lambda transaction: make_user(transaction, checked, stable_id, now))

    async def rename_user(self, text: str, name: str) -> User:
        """Give a user another name."""
        id_, checked = self.user(text).id, _user_name(name)

        def work(transaction: Transaction) -> User:
            _check_free(transaction, checked, id_)
            user = msgspec.structs.replace(_known(transaction.get(User, id_)), name=checked)
            transaction.put(user)
            return user

        return await self._mesh.write(work)

    async def delete_user(self, text: str) -> User:
        """Take a user away, with his pre-auth keys; Conflict while he has nodes."""
        user = self.user(text)

        def work(transaction: Transaction) -> User:
            nodes = transaction.find(Node, user=user.id)
            if nodes:
                raise Conflict(f"{user.name} still has {len(nodes)} nodes; delete them first")
            for key in transaction.find(PreAuthKey, user=user.id):
                transaction.delete(PreAuthKey, key.id)
            transaction.delete(User, user.id)
            return user

        return await self._mesh.write(work)


def make_user(transaction: Transaction, name: str, stable_id: str, now: int) -> User:
    """Insert a user; Conflict where the name is taken."""
    _check_free(transaction, name, None)
    user = User(id=transaction.new_id(User), stable_id=stable_id, name=name, subject=name, created=now)
    transaction.put(user)
    return user


def _check_free(transaction: Transaction, name: str, by: int | None) -> None:
    if any(other.id != by for other in transaction.find(User, name=name)):
        raise Conflict(f"another user is called {name!r}")


def _user_name(name: str) -> str:
    if not 0 < len(name) <= MAX_USER_NAME or not name.isprintable() or name != name.strip() or name.isdecimal():
        raise Refused(f"{name[:MAX_USER_NAME]!r} can't name a user: give 1 to 64 printable characters", "usage")
    return name


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _known(record: R | None) -> R:
    if record is None:
        raise NotFound("it is gone already")
    return record
