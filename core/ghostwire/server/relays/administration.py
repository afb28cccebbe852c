"""What administrators do with relays: make, change, drain, delete. Each is one durable transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, TypeVar

import msgspec

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, NotFound, Refused
from ghostwire.model import Relay
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.names import is_label
from ghostwire.server.relays import records
from ghostwire.server.relays.enrolment import digest, make_secret
from ghostwire.server.relays.regions import LAST, checked_name, region_id
from ghostwire.server.relays.relays import Relays
from ghostwire.server.texts import HostName, OwnIPv4, OwnIPv6, RegionName, RelayName

TTL = 3600
"""Seconds a token lets its relay in, where its maker does not say."""
MAX_TTL = 31 * 86400
NONE = "none"
"""An address family over which a relay is not reached."""

T = TypeVar("T")

Port = Annotated[int, msgspec.Meta(ge=1, le=LAST)]
StunPort = Annotated[int, msgspec.Meta(ge=0, le=LAST)]
Capacity = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Region = Annotated[int, msgspec.Meta(ge=1, le=LAST)]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What relay is wanted; ``stun_port`` None: where it says itself. ``ttl_seconds`` 0: the usual time."""

    name: RelayName
    region: RegionName
    host: HostName
    region_id: Region | None = None
    port: Port = 3478
    stun_port: StunPort | None = None
    ipv4: OwnIPv4 = ""
    ipv6: OwnIPv6 = ""
    capacity: Capacity = 1000
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_TTL)] = 0


class Alteration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another way; None: as it is."""

    region: RegionName | None = None
    host: HostName | None = None
    region_id: Region | None = None
    port: Port | None = None
    stun_port: StunPort | None = None
    ipv4: OwnIPv4 | None = None
    ipv6: OwnIPv6 | None = None
    capacity: Capacity | None = None


class RelayAdministration:
    """Relays are named by id or by name; NotFound where there is none."""

    def __init__(self, mesh: LiveMesh, relays: Relays, entropy: Entropy) -> None:
        self._mesh, self._relays, self._entropy = mesh, relays, entropy

    def all(self) -> Sequence[Relay]:
        """All relays, by id."""
        return self._mesh.list(Relay)

    def relay(self, text: str) -> Relay:
        """The relay of that id or name."""
        state = self._mesh.state
        is_id = text.isascii() and text.isdecimal() and len(text) < 19
        found = state.relay_named(text) or (state.get(Relay, int(text)) if is_id else None)
        if found is None:
            raise NotFound(f"no relay is called {text!r}; see: gwctl relays list")
        return found

    async def create(self, order: Order) -> tuple[Relay, str]:
        """A relay that may enrol by the secret that comes with it, once."""
        return await self.create_as(order, lambda relay, secret: (relay, secret))

    async def create_as(self, order: Order, render: Callable[[Relay, str], T]) -> T:
        """A new relay as it is shown with its secret."""
        _check_name(order.name)
        fields = _checked(msgspec.structs.asdict(order))
        secret, now = make_secret(self._entropy), self._mesh.now()
        expires = now + (fields.pop("ttl_seconds") or TTL)

        def work(transaction: Transaction) -> T:
            if transaction.find(Relay, name=order.name):
                name = order.name
                raise Conflict(f"another relay is called {name}; for a new token, first: gwctl relays delete {name}")
            known = _with_region(fields, transaction.find(Relay))
            id_ = transaction.new_id(Relay)
            relay = Relay(id=id_, created=now, expires=expires, digest=digest(secret), **known)
            transaction.put(relay)
            return render(relay, secret)

        return await self._mesh.write(work)

    async def change(self, text: str, alteration: Alteration) -> Relay:
        """Change a relay's record."""
        id_ = self.relay(text).id
        given = {name: value for name, value in msgspec.structs.asdict(alteration).items() if value is not None}
        fields = _checked(given)

        def work(transaction: Transaction) -> tuple[Relay, int | None]:
            relay = _known(transaction.get(Relay, id_))
            if relay.source != records.ENROLLED and fields.keys() - {"capacity"}:
                raise Conflict(f"{relay.name} is {_keeper(relay)}; only its capacity can be set here")
            others = [other for other in transaction.find(Relay) if other.id != id_]
            named = {"region": relay.region_name, **fields} if "region_id" in fields else fields
            changed = msgspec.structs.replace(relay, **_with_region(named, others, relay.region))
            transaction.put(changed)
            return changed, self._left(transaction, relay) if changed.region != relay.region else None

        return await self._leaving(work)

    async def drain(self, text: str, draining: bool) -> Relay:
        """Let a relay take nobody new, and move its nodes to others of its region; or end that."""
        id_ = self.relay(text).id

        def work(transaction: Transaction) -> Relay:
            relay = msgspec.structs.replace(_known(transaction.get(Relay, id_)), draining=draining)
            transaction.put(relay)
            return relay

        return await self._mesh.write(work)

    async def delete(self, text: str) -> Relay:
        """Take a relay out of the mesh; the others of its region get a new key, which it does not know."""
        id_ = self.relay(text).id

        def work(transaction: Transaction) -> tuple[Relay, int | None]:
            relay = _known(transaction.get(Relay, id_))
            if relay.source != records.ENROLLED and not self._is_left_over(relay):
                raise Conflict(f"{relay.name} is {_keeper(relay)}, and goes only with that")
            transaction.delete(Relay, id_)
            return relay, self._left(transaction, relay)

        return await self._leaving(work)

    def _is_left_over(self, relay: Relay) -> bool:
        """Whether it was the own relay of a server that does not run any more."""
        return relay.source == records.EMBEDDED and not self._relays.is_connected(relay)

    def _left(self, transaction: Transaction, relay: Relay) -> int | None:
        """The region that the relay leaves, with a new key if it knew the old one; None if it never knew any."""
        if relay.key is None:
            return None
        self._relays.mesh_keys.renew(transaction, relay.region)
        return relay.region

    async def _leaving(self, work: Callable[[Transaction], tuple[Relay, int | None]]) -> Relay:
        """Write, and let a region's relays know of its new key: the commit does not show where a relay but passed."""
        relay, left = await self._mesh.write(work)
        if left is not None:
            self._relays.rekeyed(left)
        return relay


def _check_name(name: str) -> None:
    if not is_label(name) or name.isdecimal() or name == records.OWN:
        raise Refused(
            f"{name[:64]!r} can't name a relay: give 1 to 63 of a-z, 0-9 and -, not only digits, nor {records.OWN}",
            "usage",
        )


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as they become a record's; Refused where one makes no sense."""
    if "host" in fields:
        _check_host(fields["host"])
    for name, kind in (("ipv4", IPv4Address), ("ipv6", IPv6Address)):
        if fields.get(name, NONE) not in ("", NONE):
            _check_address(name, fields[name], kind)
    if "region" in fields:
        checked_name(fields["region"])
    if fields.get("stun_port") is not None:
        fields["stun_fixed"] = True
    elif "stun_port" in fields:
        del fields["stun_port"]
    return fields


def _with_region(fields: dict[str, Any], others: Sequence[Relay], own: int | None = None) -> dict[str, Any]:
    """The fields with the region's id and name, as the others know them; ``own`` is the id that the relay has now."""
    wanted, name = fields.get("region_id"), fields.get("region")
    rest = {key: value for key, value in fields.items() if key not in ("region", "region_id")}
    if name is None:
        return rest
    return {**rest, "region": region_id(others, name, wanted=wanted, own=own), "region_name": name}


def _check_host(host: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdecimal():
            raise Refused(f"{host[:80]!r} is no host name or address that nodes could connect to", "usage") from None


def _check_address(name: str, text: str, kind: type[IPv4Address] | type[IPv6Address]) -> None:
    try:
        kind(text)
    except ValueError:
        raise Refused(f"{name} {text[:80]!r}: give an address, or none", "usage") from None


def _keeper(relay: Relay) -> str:
    if relay.source == records.EMBEDDED:
        return "a server's own relay (of its plugin derp)"
    return "of the DERP map (derp_map in [server])"


def _known(relay: Relay | None) -> Relay:
    if relay is None:
        raise NotFound("it is gone already")
    return relay


_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
