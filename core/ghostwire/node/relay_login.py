"""The node's `Identity` towards relays: logs in and reads the answer, and is no box oracle.

What is sealed is one constant JSON of core's, and only for keys that are nobody else's. What is opened must come from
a relay that was logged in to, be small, and be a JSON object; so nothing that a node or the server ever sealed can be
opened through here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from ghostwire.capabilities.identity import Identity
from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import Refused, RemoteProtocolError, Unavailable
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.wire.box import Box

CLIENT_INFO = b'{"version":2,"CanAckPings":true}'
"""DERP's ClientInfo (protocol version 2). ``meshKey`` is left out: a server refuses an empty one."""
MAX_SEALED = 1024
"""The longest ServerInfo that is opened."""
MAX_RELAYS = 256
"""How many relays that were logged in to are remembered; the one used least lately is forgotten."""
BURST = 32
INTERVAL = SECOND
"""So many calls at once, then one each interval."""


class RelayLogin(Identity):
    """``foreign`` tells whether 32 bytes are somebody's key who is no relay."""

    def __init__(self, key: PrivateKey, foreign: Callable[[bytes], bool], clock: Clock, entropy: Entropy) -> None:
        self._key, self._foreign, self._clock, self._entropy = key, foreign, clock, entropy
        self._boxes: OrderedDict[bytes, Box] = OrderedDict()
        self._free_at = 0

    @property
    def node_key(self) -> NodeKey:
        """The node's public key."""
        return self._key.public(NodeKey)

    def derp_login(self, server_key: RelayKey) -> bytes:
        """The payload of DERP's ClientInfo frame: node key (32), nonce (24), NaCl box of the JSON."""
        self._check(server_key)
        box = self._boxes.get(server_key.raw) or self._box(server_key)
        self._boxes[server_key.raw] = box
        self._boxes.move_to_end(server_key.raw)
        if len(self._boxes) > MAX_RELAYS:
            self._boxes.popitem(last=False)
        return self._key.public_raw + box.seal(CLIENT_INFO, self._entropy)

    def derp_open(self, server_key: RelayKey, sealed: bytes) -> bytes:
        """The JSON of DERP's ServerInfo frame."""
        self._check(server_key)
        box = self._boxes.get(server_key.raw)
        if box is None:
            raise Refused(f"{server_key}: not logged in to this relay")
        if len(sealed) > MAX_SEALED:
            raise RemoteProtocolError(f"a ServerInfo of {len(sealed)} bytes; at most {MAX_SEALED} are accepted")
        opened = box.open(sealed)
        try:
            msgspec.json.decode(opened, type=dict)
        except (msgspec.DecodeError, RecursionError):
            raise RemoteProtocolError("a ServerInfo that is no JSON object") from None
        return opened

    def _check(self, server_key: RelayKey) -> None:
        if server_key.raw == self._key.public_raw or self._foreign(server_key.raw):
            raise Refused(f"{server_key}: not a relay's key, but a node's or the server's")
        now = self._clock.now()
        if self._free_at - now > (BURST - 1) * INTERVAL:
            raise Unavailable("too many relay logins; try again in a second")
        self._free_at = max(self._free_at, now) + INTERVAL

    def _box(self, server_key: RelayKey) -> Box:
        try:
            return Box(self._key, server_key.raw)
        except RemoteProtocolError as error:
            raise Refused(f"{server_key}: {error}") from None
