"""How the two ends of `tailcat` find each other without a control server; the rest is stock WireGuard, DERP and disco.

    end        what the other knows of it
    --------   -----------------------------------------------------------------------------------------
    server     its token: "tc" and base64 of CBOR {"p": node key, "i": DERP region} (or the region's relays)
    client     a meow, sent over the server's relay: 6d 65 6f 77, 01, node key (32), disco key (32)
    both       IPv6 address: fd7a:115c:a1e0 and the first ten bytes of the node key
               disco key: the server's (and a client's own) is its node key, read as a disco key
               endpoints: by call-me-maybe over the relay alone

The server answers a meow with 6d 65 6f 77, 02: from then on the client is its WireGuard peer. Later versions add a key
of its own for disco and a preshared key to the token; pytailcat's has neither.
(https://github.com/tailscale/tailcat, README "How it works" and disco.go)
"""

from __future__ import annotations

import base64
import json
import subprocess
from ipaddress import IPv6Address

from derpclient import DerpClient
from natlab import Lab
from stock import find_tailcat

from ghostwire.keys import DiscoKey, NodeKey, PrivateKey

_MAGIC = b"meow"
_PING, _PONG = b"\x01", b"\x02"
_PREFIX = bytes.fromhex("fd7a115ca1e0")


def mesh_address(key: NodeKey) -> str:
    """The address of the node with this key."""
    return str(IPv6Address(_PREFIX + key.raw[:10]))


def disco_key(key: NodeKey) -> DiscoKey:
    """The same bytes in the other role."""
    return DiscoKey(key.raw)


def server_key(token: str) -> NodeKey:
    """The node key in a server's token, as `tailcat parse` shows it."""
    done = subprocess.run([find_tailcat() or "tailcat", "parse", token], capture_output=True, text=True, check=True)
    return NodeKey.parse(json.loads(done.stdout)["ServerPublic"])


def token(key: NodeKey, region: int) -> str:
    """The token of a server with this key that is at home in this region (256 or higher) of the DERP map."""
    fields = b"\xa2" + b"\x61p" + b"\x58\x20" + key.raw + b"\x61i" + b"\x19" + region.to_bytes(2, "big")
    return "tc" + base64.urlsafe_b64encode(fields).decode().rstrip("=")


def introduce(lab: Lab, member: str, relay: str, own: PrivateKey, disco: PrivateKey, server: NodeKey) -> None:
    """Say to a tailcat server over the relay who we are, until it has made us its peer."""
    meow = _MAGIC + _PING + own.public_raw + disco.public_raw
    with DerpClient(lab, member, relay, key=own.raw) as client:
        client.send(server.raw, meow)
        while client.receive() != (server.raw, _MAGIC + _PONG):
            pass


def await_client(lab: Lab, member: str, relay: str, own: PrivateKey) -> tuple[NodeKey, DiscoKey]:
    """Be the server that a tailcat client introduces itself to, and take it as a peer; its keys."""
    with DerpClient(lab, member, relay, key=own.raw) as server:
        while True:
            source, data = server.receive()
            if data.startswith(_MAGIC + _PING):
                server.send(source, _MAGIC + _PONG)
                return NodeKey(data[5:37]), DiscoKey(data[37:69])
