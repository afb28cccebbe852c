"""How a machine and a server prove to each other who they are within TLS, where there is no control session: a
challenge and its proofs, without I/O; both sides.

    node                                              server
      C, a fresh X25519 key                    ->             nothing happens on its strength
                                               <-   E, a fresh X25519 key, and the server's proof
      M and N with a proof each                ->             good for this challenge, once

S is the server's control key, B the SHA-256 of the TLS certificate (DER) that it shows, 32 zero bytes where it shows
none; M is the machine key, N the node key. All keys are public X25519 keys of 32 bytes.

    h             = BLAKE2s("GhostWire challenge v1" | S | C | E | B)
    server proof  = BLAKE2s("GhostWire challenge server v1" | h)        under the key X25519(s, C) = X25519(c, S)
    machine proof = BLAKE2s("GhostWire challenge machine v1" | h | M)   under the key X25519(m, E) = X25519(e, M)
    node proof    = BLAKE2s("GhostWire challenge node v1" | h | N)      under the key X25519(n, E) = X25519(e, N)

So a client knows before it says anything that the end of its TLS connection is the server's; whoever stands between,
with a certificate of his own, has a proof that does not fit what the client sees, and no use for the client's.
"""

from __future__ import annotations

from hashlib import blake2s

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import ControlKey, MachineKey, NodeKey, PrivateKey, PublicKey, equal

BINDING_BYTES = 32
UNBOUND = bytes(BINDING_BYTES)
"""The binding where TLS is off."""

_TRANSCRIPT = b"GhostWire challenge v1"
_SERVER = b"GhostWire challenge server v1"
_LABELS: dict[type[PublicKey], bytes] = {
    MachineKey: b"GhostWire challenge machine v1",
    NodeKey: b"GhostWire challenge node v1",
}


class Challenge:
    """The server's side: ``public`` is its fresh key, ``proof`` shows that it holds the control key."""

    __slots__ = ("_ephemeral", "_hash", "proof", "public")

    def __init__(self, control: PrivateKey, ephemeral: PrivateKey, client: bytes, binding: bytes) -> None:
        """RemoteProtocolError where ``client`` is no key that could be anybody's."""
        self._ephemeral, self.public = ephemeral, ephemeral.public_raw
        self._hash = _transcript(control.public_raw, client, self.public, binding)
        self.proof = _keyed(_shared(control, client), _SERVER + self._hash)

    def verify(self, key: MachineKey | NodeKey, proof: bytes) -> bool:
        """Whether the other side proved that it holds this key's private half."""
        try:
            secret = _shared(self._ephemeral, key.raw)
        except RemoteProtocolError:
            return False
        return equal(_keyed(secret, _LABELS[type(key)] + self._hash + key.raw), proof)


class Answer:
    """The client's side: what it proves once the server has; RemoteProtocolError where it has not."""

    __slots__ = ("_challenge", "_hash")

    def __init__(
        self, server: ControlKey, ephemeral: PrivateKey, challenge: bytes, proof: bytes, binding: bytes
    ) -> None:
        self._challenge = challenge
        self._hash = _transcript(server.raw, ephemeral.public_raw, challenge, binding)
        if not equal(_keyed(_shared(ephemeral, server.raw), _SERVER + self._hash), proof):
            raise RemoteProtocolError("this is not the server that was asked for, or somebody stands between")

    def prove(self, key: PrivateKey, kind: type[MachineKey] | type[NodeKey]) -> bytes:
        """The proof of holding ``key``, which is of this kind."""
        return _keyed(_shared(key, self._challenge), _LABELS[kind] + self._hash + key.public_raw)


def _transcript(server: bytes, client: bytes, challenge: bytes, binding: bytes) -> bytes:
    return blake2s(_TRANSCRIPT + server + client + challenge + binding).digest()


def _shared(private: PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(public)
    except ValueError:
        raise RemoteProtocolError("not a usable X25519 key of 32 bytes") from None


def _keyed(secret: bytes, text: bytes) -> bytes:
    return blake2s(text, key=secret).digest()
