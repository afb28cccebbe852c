"""DERP's frames, for the relay and its clients alike (Tailscale's derp, protocol version 2).

+------+--------------+-----------------+
| type | length (BE)  | payload         |
| 1    | 4            | length bytes    |
+------+--------------+-----------------+

01 ServerKey      relay>client   magic(8) key(32)
02 ClientInfo     client>relay   node key(32) nonce(24) box(JSON)
03 ServerInfo     relay>client   nonce(24) box(JSON)
04 SendPacket     client>relay   destination(32) data
05 RecvPacket     relay>client   source(32) data
06 KeepAlive      relay>client
07 NotePreferred  client>relay   0 or 1: whether this is the client's home
08 PeerGone       relay>client   key(32) reason(1)
09 PeerPresent    relay>relay    key(32) address(16) port(2) flags(1)
0a ForwardPacket  relay>relay    source(32) destination(32) data
10 WatchConns     relay>relay
11 ClosePeer      relay>relay    key(32)
12 Ping           both           8 bytes
13 Pong           both           the 8 bytes of the Ping
14 Health         relay>client   text; empty: well
15 Restarting     relay>client   reconnect in (4, ms), try for (4, ms)
"""

from __future__ import annotations

import struct

MAGIC = "DERP🔑".encode()
VERSION = 2
KEY_BYTES = 32
HEADER_BYTES = 5
MAX_DATA = 64 * 1024
"""Bytes of data in one packet, without keys."""
MAX_CLIENT_INFO = 4096
MAX_FRAME = 1024 * 1024
"""What a client accepts of a relay."""

SERVER_KEY = 0x01
CLIENT_INFO = 0x02
SERVER_INFO = 0x03
SEND_PACKET = 0x04
RECV_PACKET = 0x05
KEEP_ALIVE = 0x06
NOTE_PREFERRED = 0x07
PEER_GONE = 0x08
PEER_PRESENT = 0x09
FORWARD_PACKET = 0x0A
WATCH_CONNS = 0x10
CLOSE_PEER = 0x11
PING = 0x12
PONG = 0x13
HEALTH = 0x14
RESTARTING = 0x15

DISCONNECTED, NOT_HERE = 0x00, 0x01
"""Reasons of PeerGone."""

REGULAR, MESH_PEER, PROBER = 1, 2, 4
"""Flags of PeerPresent."""

DISCO_MAGIC = b"TS\xf0\x9f\x92\xac"
LEAST_DISCO = 62
"""Data that begins with the magic and is that long is a path-discovery packet."""

header = struct.Struct(">BI")
"""Type and length."""
packet_header = struct.Struct(">BI32s")
"""Type, length, and the key that SendPacket and RecvPacket begin with."""
forward_header = struct.Struct(">BI32s32s")
"""Type, length, source and destination of ForwardPacket."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return header.pack(kind, len(payload)) + payload
