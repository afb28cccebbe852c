"""How machines come in: registering, coming back, rotating keys. All in the transaction that writes the node.

The machine key, proven by the handshake, is the identity; the node key's possession was proven too before this runs.
The disco key's was not, since only its holder can use it; but it must be a key of this machine's alone, or datagrams
could not be told apart by it.

    unknown machine          credentials admit it: a new node with id, name and addresses
    known, key not expired   comes in again without credentials; a new node key replaces the old one
    known, key expired       credentials renew the same node, which keeps id, name and addresses
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ghostwire.capabilities.authentication import Admission, Authenticator, EnrolmentRequest
from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import AuthenticationFailed, Conflict, Refused
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Node, PreAuthKey, Route, User
from ghostwire.server.names import label, unique
from ghostwire.server.nodes.addresses import AddressPlan
from ghostwire.server.state import expired
from ghostwire.wire.messages import Credentials, Hello, Host

MAX_TEXT = 255
"""Characters kept of what a machine says about itself."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a machine says it is, and what it offers to be let in. ``now`` is Unix seconds."""

    machine_key: MachineKey
    node_key: NodeKey
    disco_key: DiscoKey
    host: Host
    credentials: Credentials | None
    now: int

    @classmethod
    def of(cls, machine_key: MachineKey, hello: Hello, now: int) -> Claim:
        """What a verified hello claims, its texts cut to a bearable length."""
        told = hello.host
        host = Host(_plain(told.hostname), _plain(told.os), _plain(told.version))
        return cls(machine_key, hello.node_key, hello.disco_key, host, hello.credentials, now)

    def fields(self) -> dict[str, Any]:
        """What a node's record takes over from it."""
        return {"node_key": self.node_key, "disco_key": self.disco_key, **msgspec.structs.asdict(self.host)}

    def matches(self, node: Node) -> bool:
        """Whether the node's record says all this already."""
        return all(getattr(node, name) == value for name, value in self.fields().items())


class Enrolment:
    """Decides about claims, given the authenticators by scheme."""

    def __init__(self, authenticators: Mapping[str, Authenticator], plan: AddressPlan, entropy: Entropy) -> None:
        self._authenticators, self._plan, self._entropy = authenticators, plan, entropy

    def enrol(self, transaction: Transaction, claim: Claim) -> Node:
        """The node of this claim, written where anything is new; Refused says why not."""
        found = transaction.find(Node, machine_key=claim.machine_key)
        if not found:
            return self._register(transaction, claim)
        node = found[0]
        if expired(node, claim.now):
            return self._renew(transaction, node, claim)
        return node if claim.matches(node) else _update(transaction, node, claim)

    def _register(self, transaction: Transaction, claim: Claim) -> Node:
        if claim.credentials is None:
            raise Refused(
                "this machine is not in the mesh; bring a join token: gwctl up --token-file", "login-required"
            )
        admission = self._admit(transaction, claim, claim.credentials)
        _check_node_key(transaction, claim)
        _check_disco_key(transaction, claim)
        node = Node(
            id=transaction.new_id(Node),
            stable_id=self._entropy(8).hex(),
            name=unique(label(claim.host.hostname), lambda name: bool(transaction.find(Node, name=name))),
            machine_key=claim.machine_key,
            addresses=self._plan.take(transaction, claim.now),
            created=claim.now,
            **claim.fields(),
            **msgspec.structs.asdict(admission),
        )
        transaction.put(node)
        return node

    def _renew(self, transaction: Transaction, node: Node, claim: Claim) -> Node:
        if claim.credentials is None:
            raise Refused("this node's key has expired; bring a new join token: gwctl up --token-file", "key-expired")
        admission = self._admit(transaction, claim, claim.credentials)
        renewed = msgspec.structs.replace(node, **msgspec.structs.asdict(admission), expires=None)
        return _update(transaction, renewed, claim)

    def _admit(self, transaction: Transaction, claim: Claim, credentials: Credentials) -> Admission:
        authenticator = self._authenticators.get(credentials.scheme)
        if authenticator is None:
            raise AuthenticationFailed(f"this server has no authenticator {_plain(credentials.scheme)[:32]!r}")
        request = EnrolmentRequest(claim.machine_key, credentials.secret, claim.now)
        admission = authenticator.admit(transaction, request)
        if transaction.get(User, admission.user) is None:
            raise AuthenticationFailed("the user this key belongs to is gone; ask for a new one")
        return admission


def remove(transaction: Transaction, plan: AddressPlan, id_: int, now: int) -> Node | None:
    """Take a node out of the mesh with its routes: its address rests, and the one-use key that brought it brings nobody
    back."""
    node = transaction.get(Node, id_)
    if node is None:
        return None
    for route in transaction.find(Route, node=id_):
        transaction.delete(Route, route.id)
    plan.release(transaction, node, now)
    _spend(transaction, node)
    transaction.delete(Node, id_)
    return node


def expire(transaction: Transaction, id_: int, now: int) -> Node | None:
    """Stop accepting a node's key from now on."""
    node = transaction.get(Node, id_)
    if node is None:
        return None
    _spend(transaction, node)
    node = msgspec.structs.replace(node, expires=now)
    transaction.put(node)
    return node


def _spend(transaction: Transaction, node: Node) -> None:
    key = transaction.get(PreAuthKey, node.pre_auth_key) if node.pre_auth_key is not None else None
    if key is not None and not key.reusable and not key.revoked:
        transaction.put(msgspec.structs.replace(key, revoked=True))


def _update(transaction: Transaction, node: Node, claim: Claim) -> Node:
    if node.node_key != claim.node_key:
        _check_node_key(transaction, claim)
    if node.disco_key != claim.disco_key:
        _check_disco_key(transaction, claim)
    node = msgspec.structs.replace(node, **claim.fields())
    transaction.put(node)
    return node


def _check_node_key(transaction: Transaction, claim: Claim) -> None:
    if transaction.find(Node, node_key=claim.node_key):
        raise Conflict("another machine holds this node key; was this machine's state copied? run: gwctl down --logout")


def _check_disco_key(transaction: Transaction, claim: Claim) -> None:
    raw = claim.disco_key.raw
    if transaction.find(Node, disco_key=claim.disco_key):
        raise Conflict(
            "another machine holds this disco key; was this machine's state copied? run: gwctl down --logout"
        )
    if not any(raw):
        raise Conflict("the disco key is all zeros, which is nobody's key; run: gwctl down --logout")
    own = raw in (claim.node_key.raw, claim.machine_key.raw)
    if own or transaction.find(Node, node_key=NodeKey(raw)) or transaction.find(Node, machine_key=MachineKey(raw)):
        raise Conflict("the disco key is a node's or machine's key too; run: gwctl down --logout")


def _plain(text: str) -> str:
    cut = text[:MAX_TEXT]
    return cut if cut.isprintable() else "".join(character for character in cut if character.isprintable())
