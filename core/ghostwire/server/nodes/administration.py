"""What administrators do with users and nodes: make, rename, expire, delete. Each is one durable transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from ghostwire.capabilities.policy import MAX_TAGS, is_tag
from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, NotFound, Refused
from ghostwire.model import Node, PreAuthKey, User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.names import LINE_NOT_ID, email_address, is_label
from ghostwire.server.nodes import enrolment
from ghostwire.server.nodes.addresses import AddressPlan

MAX_USER_NAME = 64
LOCAL = "local"
"""The issuer of users that are made here."""
R = TypeVar("R", Node, User)
T = TypeVar("T")
_USER_NAME = re.compile(LINE_NOT_ID)


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

    async def change_node(self, text: str, *, name: str | None = None, tags: Sequence[str] | None = None) -> Node:
        """Give a node another name, a DNS label, or these tags in place of its own: without any it acts for its user
        again."""
        id_, checked = self.node(text).id, _tags(tags) if tags is not None else None
        if name is not None and (not is_label(name) or name.isdecimal()):
            raise Refused(f"{name!r} can't name a node: give 1 to 63 of a-z, 0-9 and -, not only digits", "usage")

        def work(transaction: Transaction) -> Node:
            node = _known(transaction.get(Node, id_))
            if name is not None and any(other.id != id_ for other in transaction.find(Node, name=name)):
                raise Conflict(f"another node is called {name!r}")
            called, tagged = node.name if name is None else name, node.tags if checked is None else checked
            node = msgspec.structs.replace(node, name=called, tags=tagged)
            transaction.put(node)
            return node

        return await self._mesh.write(work)

    async def rename_node(self, text: str, name: str) -> Node:
        """Give a node another name."""
        return await self.change_node(text, name=name)

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

    async def add_user(self, name: str, email: str = "") -> User:
        """Make a user of the server's own."""
        return await self.add_user_as(name, email, lambda user: user)

    async def add_user_as(self, name: str, email: str, render: Callable[[User], T]) -> T:
        """Make a user of the server's own; how it is shown."""
        checked, address = _user_name(name), _email(email)
        now, stable_id = self._mesh.now(), self._entropy(8).hex()

        def work(transaction: Transaction) -> T:
            return render(make_user(transaction, checked, stable_id, now, address))

        return await self._mesh.write(work)

    async def change_user(self, text: str, *, name: str | None = None, email: str | None = None) -> User:
        """Give a user another name or, unless somebody else vouches for it, e-mail address (empty: none)."""
        id_, checked = self.user(text).id, _user_name(name) if name is not None else None
        address = _email(email) if email is not None else None

        def work(transaction: Transaction) -> User:
            user = _known(transaction.get(User, id_))
            if address is not None and user.issuer != LOCAL:
                raise Refused(f"the e-mail address of {user.name} is what {user.issuer} says", "usage")
            called, reached = user.name if checked is None else checked, user.email if address is None else address
            _check_free(transaction, called, id_)
            _check_nobodys(transaction, reached, id_)
            user = msgspec.structs.replace(user, name=called, email=reached)
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


def make_user(transaction: Transaction, name: str, stable_id: str, now: int, email: str = "") -> User:
    """Insert a user; Conflict where the name or the e-mail address is taken."""
    _check_free(transaction, name, None)
    _check_nobodys(transaction, email, None)
    id_ = transaction.new_id(User)
    user = User(id=id_, stable_id=stable_id, name=name, subject=name, created=now, email=email)
    transaction.put(user)
    return user


def _check_free(transaction: Transaction, name: str, by: int | None) -> None:
    if any(other.id != by for other in transaction.find(User, name=name)):
        raise Conflict(f"another user is called {name!r}")


def _check_nobodys(transaction: Transaction, email: str, by: int | None) -> None:
    """A policy that names an address means one user."""
    if email and any(other.id != by for other in transaction.find(User, email=email)):
        raise Conflict(f"another user has the e-mail address {email}")


def _email(text: str) -> str:
    """Empty, or an e-mail address."""
    try:
        return email_address(text) if text else ""
    except ValueError:
        raise Refused(f"{text[:80]!r} is no e-mail address: give it as name@example.com", "usage") from None


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    wrong = next((tag for tag in tags if not is_tag(tag)), None)
    if wrong is not None:
        raise Refused(f"{wrong[:80]!r} is not a tag: give tag: and letters, digits and ._-, a letter first", "usage")
    if len(tags) > MAX_TAGS:
        raise Refused(f"a node may carry {MAX_TAGS} tags at most", "usage")
    return tuple(dict.fromkeys(tags))


def _user_name(name: str) -> str:
    if _USER_NAME.fullmatch(name) is None:
        raise Refused(f"{name[:MAX_USER_NAME]!r} can't name a user: give 1 to 64 printable characters", "usage")
    return name


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _known(record: R | None) -> R:
    if record is None:
        raise NotFound("it is gone already")
    return record
