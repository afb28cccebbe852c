"""The little that a transport gets of the node's key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostwire.keys import NodeKey, RelayKey


class Identity(ABC):
    """Logs in to relays in the node's name. There is no general box oracle: what is sealed is core's own JSON.

    Both calls are rate-limited (Unavailable) and refuse (Refused) keys that are no relay's: a peer's, the node's own,
    the server's.
    """

    @property
    @abstractmethod
    def node_key(self) -> NodeKey:
        """The node's public key."""

    @abstractmethod
    def derp_login(self, server_key: RelayKey) -> bytes:
        """The payload of DERP's ClientInfo frame: node key (32), nonce (24), NaCl box of the JSON."""

    @abstractmethod
    def derp_open(self, server_key: RelayKey, sealed: bytes) -> bytes:
        """The JSON of DERP's ServerInfo frame, from nonce (24) and box; RemoteProtocolError where it does not open."""
