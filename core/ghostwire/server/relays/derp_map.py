"""DERP maps: the field's JSON about relays, read and written.

    {"Regions": {"900": {"RegionID": 900, "RegionCode": "north", "RegionName": "North", "Nodes": [
        {"Name": "a", "RegionID": 900, "HostName": "a.example.com", "DERPPort": 443, "STUNPort": 3478}]}}}

Ports left out are 443 and 3478, STUNPort -1 is none. ``IPv4`` and ``IPv6`` stand for what DNS would say, ``none`` for
never. ``CertName`` ``sha256-raw:<hex>`` is the SHA-256 of the one certificate to accept. Source: tailcfg.DERPMap.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar

import msgspec

from ghostwire.errors import RemoteProtocolError
from ghostwire.model import Relay
from ghostwire.server.relays.records import DERP_MAP, usable
from ghostwire.server.relays.regions import LAST

MAX_BYTES = 1 << 20
MAX_RELAYS = 10_000
PINNED = "sha256-raw:"
_NULL = b"null"

T = TypeVar("T")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Port = Annotated[int, msgspec.Meta(ge=0, le=LAST)]
_Text = Annotated[str, msgspec.Meta(max_length=253)]


class _Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = msgspec.field(name="Name")
    region: int = msgspec.field(name="RegionID", default=0)
    host: _Text = msgspec.field(name="HostName", default="")
    cert_name: _Text = msgspec.field(name="CertName", default="")
    ipv4: _Text = msgspec.field(name="IPv4", default="")
    ipv6: _Text = msgspec.field(name="IPv6", default="")
    stun_port: Annotated[int, msgspec.Meta(ge=-1, le=LAST)] = msgspec.field(name="STUNPort", default=0)
    stun_only: bool = msgspec.field(name="STUNOnly", default=False)
    derp_port: _Port = msgspec.field(name="DERPPort", default=0)
    insecure: bool = msgspec.field(name="InsecureForTests", default=False)


class _Region(msgspec.Struct, frozen=True, kw_only=True):
    id: Annotated[int, msgspec.Meta(ge=1, le=LAST)] = msgspec.field(name="RegionID")
    code: _Text = msgspec.field(name="RegionCode", default="")
    name: _Text = msgspec.field(name="RegionName", default="")
    nodes: list[msgspec.Raw] | None = msgspec.field(name="Nodes", default=None)


class _Map(msgspec.Struct, frozen=True):
    regions: dict[str, msgspec.Raw] | None = msgspec.field(name="Regions", default=None)


def parse(data: bytes) -> list[Relay]:
    """The relays of a DERP map as records without an id; RemoteProtocolError names region, node and what is wrong."""
    if len(data) > MAX_BYTES:
        raise RemoteProtocolError(f"a DERP map of more than {MAX_BYTES} bytes")
    regions = _decode(data, _Map, "").regions or {}
    relays = [relay for key, raw in regions.items() if bytes(raw) != _NULL for relay in _relays(key, raw)]
    if len(relays) > MAX_RELAYS:
        raise RemoteProtocolError(f"a DERP map of {len(relays)} relays; at most {MAX_RELAYS} make sense")
    [(name, count)] = Counter(relay.name for relay in relays).most_common(1) or [("", 0)]
    if count > 1:
        raise RemoteProtocolError(f"two nodes are called {name}")
    return relays


def render(relays: Iterable[Relay]) -> dict[str, Any]:
    """A DERP map of these relays, as JSON's types; those that drain come last in their region."""
    regions: dict[str, Any] = {}
    for relay in sorted(filter(usable, relays), key=lambda relay: (relay.region, relay.draining, relay.id)):
        new = {"RegionID": relay.region, "RegionCode": _code(relay.region_name), "RegionName": relay.region_name}
        regions.setdefault(str(relay.region), {**new, "Nodes": []})["Nodes"].append(_rendered(relay))
    return {"Regions": regions}


def _relays(key: str, raw: msgspec.Raw) -> Iterator[Relay]:
    region = _decode(raw, _Region, f"region {key[:16]}: ")
    name = (region.name or region.code or key).strip()[:64]
    where = f"region {key[:16]} ({_plain(name)})"
    if key != str(region.id):
        raise RemoteProtocolError(f"{where}: its RegionID is {region.id}")
    for number, node in enumerate(region.nodes or (), 1):
        relay = _relay(region.id, _plain(name), _decode(node, _Node, f"{where}, node {number}: "), where)
        if relay is not None:
            yield relay


def _relay(region: int, region_name: str, node: _Node, where: str) -> Relay | None:
    """None for a node that only serves STUN."""
    where = f"{where}, node {_plain(node.name)}"
    if node.region not in (0, region):
        raise RemoteProtocolError(f"{where}: its RegionID is {node.region}")
    if node.stun_only:
        return None
    if node.insecure:
        raise RemoteProtocolError(f"{where}: InsecureForTests; name its certificate instead: CertName {PINNED}<hex>")
    if not node.host or _plain(node.host) != node.host:
        raise RemoteProtocolError(f"{where}: it has no HostName")
    return Relay(
        id=0,
        name=_plain(node.name),
        region=region,
        region_name=region_name,
        host=node.host,
        port=node.derp_port or 443,
        stun_port=0 if node.stun_port == -1 else node.stun_port or 3478,
        ipv4=_address(node.ipv4, 4, where),
        ipv6=_address(node.ipv6, 6, where),
        certificate=_certificate(node, where),
        source=DERP_MAP,
    )


def _address(text: str, version: int, where: str) -> str:
    try:
        if text in ("", "none") or ip_address(text).version == version:
            return text
    except ValueError:
        pass
    raise RemoteProtocolError(f"{where}: {_plain(text)!r} is no IPv{version} address, nor none")


def _certificate(node: _Node, where: str) -> str:
    pin = node.cert_name.removeprefix(PINNED)
    if node.cert_name in ("", node.host):
        return ""
    if node.cert_name == pin or not _SHA256.fullmatch(pin.lower()):
        raise RemoteProtocolError(f"{where}: CertName {_plain(node.cert_name)!r} is not {PINNED} and 64 hex digits")
    return pin.lower()


def _rendered(relay: Relay) -> Mapping[str, Any]:
    node: dict[str, Any] = {"Name": relay.name, "RegionID": relay.region, "HostName": relay.host}
    node |= {"DERPPort": relay.port, "STUNPort": relay.stun_port or -1}
    node |= {name: text for name, text in (("IPv4", relay.ipv4), ("IPv6", relay.ipv6)) if text}
    return node | ({"CertName": PINNED + relay.certificate} if relay.certificate else {})


def _code(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "region"


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _decode(data: bytes | msgspec.Raw, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"{where}{error}") from None
