"""The mesh's records, and the network map a node holds of them.

Records (`RECORDS`: ``User``, ``Node``, ``Route`` and so on) are what the server stores. Map
objects (``MapNode``, ``Rule``, ``LabelSet``, ``MapRoute``, ``MapRelay``) are what nodes are told: no field of theirs
depends on who looks, so each is encoded once per change.
All are immutable; ids are positive integers and never reused; times are whole seconds of Unix time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from ghostwire.keys import DiscoKey, MachineKey, NodeKey, PublicKey, RelayKey


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What storage keeps: an immutable row with an integer id.

    ``unique`` names the fields of which each value has one holder (storage answers Conflict, and finds by them fast).
    """

    unique: ClassVar[tuple[str, ...]] = ()

    id: int


class User(Record, frozen=True, kw_only=True):
    """Somebody nodes belong to: (issuer, subject), issuer ``local`` for users made on the server.

    ``email`` is there only where the issuer verified it; for ``local`` users the administrator's word is that.
    """

    unique = ("stable_id", "name")

    stable_id: str
    name: str
    issuer: str = "local"
    subject: str = ""
    created: int = 0
    email: str = ""


class Node(Record, frozen=True, kw_only=True):
    """A machine in the mesh, as the server knows it.

    ``addresses`` are bare addresses, IPv4 first. ``expires`` is when its key stops being accepted (None: never).
    A tagged node (``tags``) acts for no user's sake, though ``user`` still says who brought it.
    """

    unique = ("stable_id", "name", "machine_key", "node_key", "disco_key", "addresses")

    stable_id: str
    name: str
    user: int
    machine_key: MachineKey
    node_key: NodeKey
    disco_key: DiscoKey
    addresses: tuple[str, ...]
    tags: tuple[str, ...] = ()
    ephemeral: bool = False
    hostname: str = ""
    os: str = ""
    version: str = ""
    created: int = 0
    expires: int | None = None
    pre_auth_key: int | None = None


class PreAuthKey(Record, frozen=True, kw_only=True):
    """A secret that lets machines join. Only ``digest`` (BLAKE2s of the secret) is kept.

    ``used_by`` names the machine key that consumed a one-use key, so that its retry is recognised.
    """

    unique = ("stable_id", "digest")

    stable_id: str
    digest: bytes
    user: int
    created: int
    expires: int
    reusable: bool = False
    ephemeral: bool = False
    tags: tuple[str, ...] = ()
    uses: int = 0
    used_by: MachineKey | None = None
    revoked: bool = False


class ReleasedAddress(Record, frozen=True, kw_only=True):
    """An IPv4 address whose holder went at ``released``: a queue by id, the oldest first to be given out again."""

    address: str
    released: int


class Relay(Record, frozen=True, kw_only=True):
    """A relay server, whether it runs or not. Relays of one ``region`` (an integer, as on the wire; ``region_name`` is
    for people) stand for each other.

    ``host`` is the name or address that nodes connect to, ``ipv4`` and ``ipv6`` what it resolves to where that is not
    to be left to DNS (``none``: not over that family). ``stun_port`` 0 means no STUN; ``stun_fixed`` says that the
    operator gave it, so that what the relay says itself does not count. ``certificate`` is the SHA-256
    of the one certificate (DER) to accept, in hex; empty where the system's roots decide. ``capacity`` is how many
    clients it can carry, as seen from the others of its region. ``source`` says who keeps the record: ``enrolled`` (a
    relay of ours, which brings key and certificate itself), ``embedded`` (the server), ``derpmap`` (a file or URL).

    ``digest`` (BLAKE2s of a secret) and ``expires`` let one relay enrol as this one; ``machine_key`` is who did.
    """

    unique = ("name", "machine_key", "digest")

    name: str
    region: int
    region_name: str
    host: str
    port: int = 443
    stun_port: int = 3478
    ipv4: str = ""
    ipv6: str = ""
    tls: bool = True
    certificate: str = ""
    key: RelayKey | None = None
    capacity: int = 1000
    draining: bool = False
    source: str = "enrolled"
    stun_fixed: bool = False
    created: int = 0
    machine_key: MachineKey | None = None
    digest: bytes | None = None
    expires: int | None = None


class Route(Record, frozen=True, kw_only=True):
    """A prefix beyond the mesh that ``node`` can pass packets on to; ``0.0.0.0/0`` and ``::/0`` make it an exit node.

    ``advertised`` is the node's word, ``approved`` the operator's: peers use a route that has both. ``approved_by``
    says whose word that is: ``auto`` (the policy's autoApprovers), or an administrator's name.
    """

    node: int
    prefix: str
    advertised: bool = True
    approved: bool = False
    approved_by: str = ""
    created: int = 0


class PolicyVersion(Record, frozen=True, kw_only=True):
    """One version of the policy, as written; the one with the highest id is in force. ``created`` by ``author``.

    ``engine`` is the policy engine that reads it. ``note`` says why, where somebody said (``rollback to 3``).
    """

    source: str
    engine: str
    author: str = ""
    created: int = 0
    note: str = ""


class ApiKey(Record, frozen=True, kw_only=True):
    """A secret that lets a program administer the mesh over the network. Only ``digest`` (BLAKE2s of it) is kept.

    ``author`` made it; ``read_only`` ones may change nothing; ``expires`` None: never.
    """

    unique = ("stable_id", "name", "digest")

    stable_id: str
    name: str
    digest: bytes
    created: int
    author: str = ""
    expires: int | None = None
    read_only: bool = False


class IdempotencyKey(Record, frozen=True, kw_only=True):
    """The answer to a request that may come again, for a day. ``digest`` is of caller and key, ``request`` of what was
    asked; ``answer`` is the body, sealed under the key itself, which is not kept: it may hold a secret."""

    unique = ("digest",)

    digest: bytes
    request: bytes
    status: int
    answer: bytes
    created: int


RECORDS: tuple[type[Record], ...] = (
    User,
    Node,
    PreAuthKey,
    ReleasedAddress,
    Relay,
    Route,
    PolicyVersion,
    ApiKey,
    IdempotencyKey,
)
"""Every kind of record that a storage keeps, each after those it refers to."""
REFERENCES: Mapping[tuple[type[Record], str], type[Record]]
REFERENCES = {(Node, "user"): User, (PreAuthKey, "user"): User, (Route, "node"): Node}
"""Fields that hold the id of another record, which has to be there, and its kind."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where in the change log a reader stands.

    ``mark`` is the random mark of that revision: another mark there means another history (a restored backup).
    ``clock`` is the presence vector clock: server id -> counter. ``newest`` is the highest node id given out by then.
    ``view`` is a digest of what the reader sees by: its labels, where they lead, its rules (0 in a change: as before).
    """

    revision: int
    mark: bytes
    clock: dict[str, int] = {}
    newest: int = 0
    view: int = 0


class Endpoint(msgspec.Struct, frozen=True, array_like=True):
    """Where a node can be reached: text that only the transport of that name reads (``udp``: ``host:port``)."""

    transport: str
    text: str


class MapNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as other nodes see it. ``home`` is its home relay's region."""

    id: int
    stable_id: str
    name: str
    node_key: NodeKey
    disco_key: DiscoKey
    addresses: tuple[str, ...]
    user: int
    tags: tuple[str, ...] = ()
    home: int | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Traffic that is let in. A packet matches if its source, its destination, its protocol and its port do.

    Source: an address of a node in one of the sets ``sources`` (where that set is ``everyone``, also a host behind
    a route other than a default one), or any within ``source_prefixes``. Destination: an own address, where the viewer
    carries one of the labels ``destinations``, or any within ``destination_prefixes`` (hosts behind the viewer, too).
    With ``own``, source and viewer must be untagged nodes of one user, and the destination is an own address.

    Empty ``protocols`` (IP protocol numbers) and ``ports`` ((first, last) pairs) mean any. ICMP and ICMPv6 have no
    ports: they match whatever ``ports`` says.
    """

    id: int
    sources: tuple[int, ...] = ()
    destinations: tuple[int, ...] = ()
    source_prefixes: tuple[str, ...] = ()
    destination_prefixes: tuple[str, ...] = ()
    own: bool = False
    protocols: tuple[int, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()


class LabelSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which nodes carry a label; ``everyone`` stands for all, so that ``*`` needs no list."""

    id: int
    everyone: bool = False
    nodes: tuple[int, ...] = ()


class SetChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes that came to carry the label ``id``, or no longer do; for a set that the viewer holds."""

    id: int
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()


class MapRoute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prefix that the node ``router`` passes packets on to (see `Route`). Several routers of one prefix stand for
    each other: the one with the lowest ``id`` that works goes first. ``down``: the router says that it cannot now."""

    id: int
    prefix: str
    router: int
    down: bool = False


class MapRelay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A relay as nodes see it; fields as in `Relay`. ``key`` None: not known, whoever answers there is taken for it.

    A ``draining`` relay still serves whom it serves, and takes nobody new.
    """

    id: int
    name: str
    region: int
    region_name: str
    host: str
    port: int = 443
    stun_port: int = 3478
    ipv4: str = ""
    ipv6: str = ""
    tls: bool = True
    certificate: str = ""
    key: RelayKey | None = None
    draining: bool = False


class MapChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="map"):
    """What changed in one viewer's map up to ``cursor``; ``full`` says: forget all that came before.

    The viewer's own node is among ``nodes``, so that it learns its own name and labels as others do. ``homes`` are the
    new home regions of nodes that are as they were otherwise (None: it has none any more). ``own_labels`` are the
    labels that the viewer carries, as far as its rules name them (None: as before). A node that is removed leaves all
    sets; ``set_changes`` do not say so again.

    ``visible`` (None: as before) are the ids of all nodes that the viewer sees, for one that comes back under another
    policy: rules, sets, routes and relays come whole then, it drops all others and every other node, and asks for the
    nodes that it lacks (`wire.messages.Lacking`).
    """

    cursor: Cursor
    full: bool = False
    visible: tuple[int, ...] | None = None
    nodes: tuple[MapNode, ...] = ()
    removed_nodes: tuple[int, ...] = ()
    homes: dict[int, int | None] = {}
    rules: tuple[Rule, ...] = ()
    removed_rules: tuple[int, ...] = ()
    sets: tuple[LabelSet, ...] = ()
    removed_sets: tuple[int, ...] = ()
    set_changes: tuple[SetChange, ...] = ()
    routes: tuple[MapRoute, ...] = ()
    removed_routes: tuple[int, ...] = ()
    own_labels: tuple[int, ...] | None = None
    relays: tuple[MapRelay, ...] = ()
    removed_relays: tuple[int, ...] = ()


class NetworkMap:
    """A viewer's copy of the mesh, kept in step by `apply`.

    ``lacking`` are nodes that the viewer sees and this map does not hold yet. Until they are there the cursor has no
    ``view``: who comes back with it, after a restart too, is told again which nodes it sees.
    """

    def __init__(self) -> None:
        self.cursor: Cursor | None = None
        self.lacking: set[int] = set()
        self._view = 0
        self.nodes: dict[int, MapNode] = {}
        self.rules: dict[int, Rule] = {}
        self.sets: dict[int, LabelSet] = {}
        self.routes: dict[int, MapRoute] = {}
        self.own_labels: frozenset[int] = frozenset()
        self.relays: dict[int, MapRelay] = {}

    def apply(self, change: MapChange) -> MapChange:
        """Bring the map to ``change.cursor``; applying the same change twice does no harm.

        Gives the change with everything named that goes, where ``visible`` said so.
        """
        change = self._spelled_out(change)
        if change.full:
            self._empty()
        _merge(self.nodes, change.nodes, change.removed_nodes)
        self.lacking -= {*(node.id for node in change.nodes), *change.removed_nodes}
        self._leave_sets(change.removed_nodes)
        for id_ in change.homes.keys() & self.nodes.keys():
            self.nodes[id_] = msgspec.structs.replace(self.nodes[id_], home=change.homes[id_])
        _merge(self.rules, change.rules, change.removed_rules)
        _merge(self.sets, change.sets, change.removed_sets)
        for each in change.set_changes:
            self._change_set(each)
        _merge(self.routes, change.routes, change.removed_routes)
        if change.own_labels is not None:
            self.own_labels = frozenset(change.own_labels)
        _merge(self.relays, change.relays, change.removed_relays)
        self._move(change.cursor)
        return change

    def clear(self) -> None:
        """Know nothing; the containers stay the same objects, so that others may hold them."""
        self.cursor, self._view = None, 0
        for held in (self.nodes, self.rules, self.sets, self.routes, self.relays, self.lacking):
            held.clear()
        self.own_labels = frozenset()

    def _empty(self) -> None:
        self.nodes, self.rules, self.sets, self.routes, self.relays = {}, {}, {}, {}, {}
        self.own_labels = frozenset()
        self.lacking.clear()

    def _spelled_out(self, change: MapChange) -> MapChange:
        if change.visible is None or change.full:
            return change
        visible = set(change.visible)
        self.lacking = visible - self.nodes.keys()
        return msgspec.structs.replace(
            change,
            visible=None,
            removed_nodes=tuple(self.nodes.keys() - visible),
            removed_rules=_others(self.rules, change.rules),
            removed_sets=_others(self.sets, change.sets),
            removed_routes=_others(self.routes, change.routes),
            removed_relays=_others(self.relays, change.relays),
        )

    def _move(self, cursor: Cursor) -> None:
        self._view = cursor.view or self._view
        self.cursor = msgspec.structs.replace(cursor, view=0 if self.lacking else self._view)

    def _leave_sets(self, gone: Collection[int]) -> None:
        for held in self.sets.values() if gone else ():
            if not set(gone).isdisjoint(held.nodes):
                self._change_set(SetChange(id=held.id, removed=tuple(gone)))

    def _change_set(self, change: SetChange) -> None:
        held = self.sets.get(change.id)
        if held is not None:
            nodes = (set(held.nodes) | set(change.added)) - set(change.removed)
            self.sets[change.id] = msgspec.structs.replace(held, nodes=tuple(sorted(nodes)))

    def as_change(self) -> MapChange | None:
        """The whole map as one full change (what the cache on disk holds); None before the first."""
        if self.cursor is None:
            return None
        return MapChange(
            cursor=self.cursor,
            full=True,
            nodes=tuple(self.nodes.values()),
            rules=tuple(self.rules.values()),
            sets=tuple(self.sets.values()),
            routes=tuple(self.routes.values()),
            own_labels=tuple(self.own_labels),
            relays=tuple(self.relays.values()),
        )


def _others(held: Collection[int], told: Iterable[Any]) -> tuple[int, ...]:
    return tuple(set(held) - {each.id for each in told})


def _merge(held: dict[int, Any], changed: Iterable[Any], removed: Iterable[int]) -> None:
    for id_ in removed:
        held.pop(id_, None)
    for item in changed:
        held[item.id] = item


def _encode_key(value: Any) -> Any:
    if isinstance(value, PublicKey):
        return value.raw
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _encode_key_text(value: Any) -> Any:
    if isinstance(value, PublicKey):
        return str(value)
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _decode_key(kind: type, value: Any) -> Any:
    if issubclass(kind, PublicKey):
        if isinstance(value, bytes):
            return kind(value)
        if isinstance(value, str):
            return kind.parse(value)
        raise ValueError(f"not a key: {type(value).__name__} instead of bytes or text")
    raise NotImplementedError(f"cannot decode {kind.__name__}")


_packer = msgspec.msgpack.Encoder(enc_hook=_encode_key)
_writer = msgspec.json.Encoder(enc_hook=_encode_key_text)

pack: Callable[[Any], bytes] = _packer.encode
"""Any record or message to msgpack; keys become 32 raw bytes."""

to_json: Callable[[Any], bytes] = _writer.encode
"""Any record or message to JSON; keys become their prefixed text."""


def unpacker(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """A msgpack decoder for this type (or union); raises msgspec.ValidationError with the path of what is wrong."""
    return msgspec.msgpack.Decoder(kind, dec_hook=_decode_key)


def from_json(data: bytes | str, kind: Any) -> Any:
    """JSON to a record or message; raises msgspec.ValidationError with the path of what is wrong."""
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_key)
