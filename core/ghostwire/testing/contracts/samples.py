"""A sample of every kind of record, each like no other."""

from __future__ import annotations

from collections.abc import Callable

from ghostwire.keys import DiscoKey, MachineKey, NodeKey, RelayKey
from ghostwire.model import (
    ApiKey,
    IdempotencyKey,
    Node,
    PolicyVersion,
    PreAuthKey,
    Record,
    Relay,
    ReleasedAddress,
    Route,
    User,
)


def user(number: int) -> User:
    """A user like no other."""
    return User(
        id=number, stable_id=f"u{number}", name=f"user{number}", subject=str(number), created=number, email="a@b"
    )


def node(number: int, owner: int = 1) -> Node:
    """A node like no other, with every field set."""
    raw = number.to_bytes(32, "big")
    return Node(
        id=number,
        stable_id=f"n{number}",
        name=f"node{number}",
        user=owner,
        machine_key=MachineKey(raw),
        node_key=NodeKey(raw),
        disco_key=DiscoKey(raw),
        addresses=(f"100.64.{number // 250}.{number % 250 + 2}", f"fd00::{number:x}"),
        tags=("tag:web", "tag:ü"),
        ephemeral=True,
        hostname="host",
        os="linux",
        version="1",
        created=number,
        expires=2_000_000_000,
    )


def pre_auth_key(number: int, owner: int = 1) -> PreAuthKey:
    """A pre-auth key like no other, with every field set."""
    return PreAuthKey(
        id=number,
        stable_id=f"k{number}",
        digest=number.to_bytes(32, "big"),
        user=owner,
        created=1,
        expires=2,
        reusable=True,
        ephemeral=True,
        tags=("tag:web",),
        uses=3,
        used_by=MachineKey(bytes(32)),
        revoked=True,
    )


def relay(number: int) -> Relay:
    """A relay like no other, with every field set."""
    raw = number.to_bytes(32, "big")
    return Relay(
        id=number,
        name=f"relay{number}",
        region=900 + number,
        region_name="north",
        host=f"relay{number}.example.com",
        port=3478,
        stun_port=3479,
        ipv4="192.0.2.1",
        ipv6="none",
        tls=False,
        certificate="ab" * 32,
        key=RelayKey(raw),
        capacity=10,
        draining=True,
        source="embedded",
        stun_fixed=True,
        created=number,
        machine_key=MachineKey(raw),
        digest=raw,
        expires=2_000_000_000,
    )


def route(number: int, router: int = 1) -> Route:
    """A route like no other, with every field set."""
    prefix = f"10.{number}.0.0/16"
    return Route(
        id=number, node=router, prefix=prefix, advertised=False, approved=True, approved_by="auto", created=number
    )


def policy_version(number: int) -> PolicyVersion:
    """A policy's version like no other, with every field set."""
    return PolicyVersion(id=number, source="{}\n", engine="acl", author="root", created=number, note="ü")


def api_key(number: int) -> ApiKey:
    """An API key like no other, with every field set."""
    digest = number.to_bytes(32, "big")
    return ApiKey(
        id=number,
        stable_id=f"a{number}",
        name=f"key{number}",
        digest=digest,
        created=1,
        author="root",
        expires=2_000_000_000,
        read_only=True,
    )


def idempotency_key(number: int) -> IdempotencyKey:
    """An idempotency key like no other."""
    digest = number.to_bytes(32, "big")
    return IdempotencyKey(id=number, digest=digest, request=bytes(32), status=201, answer=b"\x00\xff", created=number)


SAMPLES: dict[type[Record], Callable[[int], Record]] = {
    User: user,
    Node: node,
    PreAuthKey: pre_auth_key,
    ReleasedAddress: lambda number: ReleasedAddress(id=number, address=f"100.64.9.{number}", released=number),
    Relay: relay,
    Route: route,
    PolicyVersion: policy_version,
    ApiKey: api_key,
    IdempotencyKey: idempotency_key,
}
