"""The control session without I/O: a Noise IK handshake, then sealed records that carry frames; both sides.

    node (initiator)                                          server (responder)
      u16 96 | e, s, empty payload                       ->   message 1: nothing happens on its strength
                                                         <-   u16 80 | e, challenge   message 2
      u16 n | sealed bytes                               ->   the first record proves freshness
      u16 n | sealed bytes                              <->   records; their plaintext is a stream of frames

Every unit on the wire is a u16 BE length and a Noise message of that many bytes. The plaintexts of all records of one
direction make one stream, cut into frames of u32 BE length + bytes (`ghostwire.wire.frames`): several frames share a
record, and a long frame spans several. The first unit travels as base64 in the upgrade request's `HANDSHAKE_HEADER`,
which saves a round trip, or else first on the upgraded stream. A responder that can't read it answers with the length
0 alone, which tells the initiator that it knocked at the wrong server.

The challenge is an X25519 public key that the responder made for this session (its ephemeral key of the handshake will
do; the initiator takes any); a node proves that it holds the
private half of a node key, a relay that of its relay key, by keyed BLAKE2s over the session's transcript hash, the key
being the shared secret of that key and the challenge. So a proof is good for one key in one session.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from hashlib import blake2s

from ghostwire.engine import Entropy
from ghostwire.errors import LocalProtocolError, RemoteProtocolError
from ghostwire.keys import KEY_BYTES, ControlKey, MachineKey, PrivateKey, PublicKey, equal
from ghostwire.wire.frames import HEADER_BYTES, FrameReader, frame_header
from ghostwire.wire.messages import MAX_FRAME_TO_NODE, MAX_FRAME_TO_SERVER
from ghostwire.wire.noise import MAX_MESSAGE, TAG_BYTES, CipherState, Initiator, Responder

PROLOGUE = b"GhostWire control v1"
HANDSHAKE_HEADER = "ghostwire-handshake"
LENGTH_BYTES = 2
FIRST_BYTES = 2 * KEY_BYTES + 2 * TAG_BYTES
SECOND_BYTES = 2 * KEY_BYTES + TAG_BYTES
MAX_PLAINTEXT = MAX_MESSAGE - TAG_BYTES
WRONG_SERVER = b"\x00\x00"
"""The responder's plain answer to a message 1 that it can't read."""

_PROOF = b"GhostWire node key proof v1"
_length = struct.Struct(">H")


class ControlSession(ABC):
    """One side of a control session. Feed it with `receive`, then send what `outgoing` drains.

    After a RemoteProtocolError the session is over: every later `receive` raises it again.
    """

    __slots__ = (
        "_buffer",
        "_error",
        "_frames",
        "_hash",
        "_out",
        "_receiving",
        "_send_limit",
        "_sending",
        "_waiting",
        "established",
        "queued",
        "remote",
    )
    _unit_bytes: int
    """The only length that the other side's handshake message can have."""
    _last_word = b""
    """What is still sent when the other side's handshake message can't be read."""

    def __init__(self, receive_limit: int, send_limit: int) -> None:
        self._frames, self._send_limit = FrameReader(receive_limit), send_limit
        self._buffer = bytearray()
        self._waiting: list[bytes] = []
        self._out = self._hash = b""
        self._error = ""
        self._sending: CipherState | None = None
        self._receiving: CipherState | None = None
        self.established = False
        """Whether frames may be sent: the other side has shown that it is the one, now."""
        self.remote: MachineKey | None = None
        """The node's machine key, on the server's side, once established."""
        self.queued = 0
        """Bytes of frames that wait for `outgoing`."""

    @staticmethod
    def initiator(machine_key: PrivateKey, server_key: ControlKey, entropy: Entropy) -> ControlSession:
        """A node's side; message 1 waits in `outgoing`."""
        return _NodeSide(machine_key, server_key, entropy)

    @staticmethod
    def responder(control_key: PrivateKey, entropy: Entropy) -> ControlSession:
        """A server's side."""
        return _ServerSide(control_key, entropy)

    def receive(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes; RemoteProtocolError where anything is wrong with it."""
        if self._error:
            raise RemoteProtocolError(self._error)
        self._buffer += data
        try:
            return [frame for unit in self._units() for frame in self._open(unit)]
        except RemoteProtocolError as error:
            self._error = str(error)
            self._buffer = bytearray()
            if self._receiving is None:
                self._out = self._last_word
            raise

    def send(self, frame: bytes) -> None:
        """Queue a frame for `outgoing`."""
        if not self.established:
            raise LocalProtocolError("a frame before the control session is established")
        if len(frame) > self._send_limit:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes; the other side takes {self._send_limit}")
        self._waiting += (frame_header(len(frame)), frame)
        self.queued += HEADER_BYTES + len(frame)

    def outgoing(self) -> bytes:
        """The bytes to send now; all frames queued since the last call share as few records as can be."""
        out, self._out = self._out, b""
        return out + self._seal() if self._waiting else out

    def prove(self, key: PrivateKey) -> bytes:
        """The proof, for this session, of holding ``key``; only a node's or relay's side gives one."""
        raise LocalProtocolError("only a node proves its key")

    def verify(self, key: PublicKey, proof: bytes) -> bool:
        """Whether the other side proved that it holds ``key``; asked once on a server's side, False ever after."""
        raise LocalProtocolError("only a server verifies proofs")

    @abstractmethod
    def _shake(self, message: bytes) -> None:
        """Take the other side's handshake message."""

    def _establish(self) -> None:
        """The first record was opened."""
        self.established = True

    def _open(self, unit: bytes) -> list[bytes]:
        if self._receiving is None:
            self._shake(unit)
            return []
        plaintext = self._receiving.decrypt(unit)
        if not self.established:
            self._establish()
        return self._frames.feed(plaintext)

    def _units(self) -> Iterator[bytes]:
        """Each whole Noise message in the buffer, which keeps only an unfinished one."""
        buffer, start = self._buffer, 0
        while len(buffer) - start >= LENGTH_BYTES:
            size = self._checked(_length.unpack_from(buffer, start)[0])
            begin, start = start + LENGTH_BYTES, start + LENGTH_BYTES + size
            if start > len(buffer):
                start = begin - LENGTH_BYTES
                break
            yield bytes(memoryview(buffer)[begin:start])
        del buffer[:start]

    def _checked(self, size: int) -> int:
        if self._receiving is None and size != self._unit_bytes:
            raise RemoteProtocolError(f"a handshake message of {size} bytes instead of {self._unit_bytes}")
        if size <= TAG_BYTES:
            raise RemoteProtocolError(f"a record of {size} bytes")
        return size

    def _seal(self) -> bytes:
        assert self._sending is not None
        plaintext = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self.queued = 0
        pieces = (plaintext[at : at + MAX_PLAINTEXT] for at in range(0, len(plaintext), MAX_PLAINTEXT))
        return b"".join([_unit(self._sending.encrypt(piece)) for piece in pieces])

    def _proof(self, secret: bytes, key: bytes) -> bytes:
        return blake2s(_PROOF + self._hash + key, key=secret).digest()


class _NodeSide(ControlSession):
    __slots__ = ("_challenge", "_handshake")
    _unit_bytes = SECOND_BYTES

    def __init__(self, machine_key: PrivateKey, server_key: ControlKey, entropy: Entropy) -> None:
        super().__init__(MAX_FRAME_TO_NODE, MAX_FRAME_TO_SERVER)
        self._challenge = b""
        self._handshake: Initiator | None = Initiator(machine_key, server_key.raw, PROLOGUE, entropy)
        self._out = _unit(self._handshake.write_first())

    def _shake(self, message: bytes) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        self._challenge = handshake.read_second(message)
        self._sending, self._receiving = handshake.split()
        self._hash = handshake.hash
        self.established = True

    def prove(self, key: PrivateKey) -> bytes:
        if not self.established:
            raise LocalProtocolError("a proof before the control session is established")
        try:
            secret = key.exchange(self._challenge)
        except ValueError:
            raise RemoteProtocolError("the server's challenge is a low-order point") from None
        return self._proof(secret, key.public_raw)


class _ServerSide(ControlSession):
    __slots__ = ("_challenge", "_handshake")
    _unit_bytes = FIRST_BYTES
    _last_word = WRONG_SERVER

    def __init__(self, control_key: PrivateKey, entropy: Entropy) -> None:
        super().__init__(MAX_FRAME_TO_SERVER, MAX_FRAME_TO_NODE)
        self._challenge: PrivateKey | None = None
        self._handshake: Responder | None = Responder(control_key, PROLOGUE, entropy)

    def _shake(self, message: bytes) -> None:
        assert self._handshake is not None
        self._handshake.read_first(message)
        self._challenge = self._handshake.ephemeral
        self._out = _unit(self._handshake.write_second(self._challenge.public_raw))
        self._sending, self._receiving = self._handshake.split()
        self._hash = self._handshake.hash

    def _establish(self) -> None:
        assert self._handshake is not None
        self.remote, self._handshake = MachineKey(self._handshake.initiator), None
        super()._establish()

    def verify(self, key: PublicKey, proof: bytes) -> bool:
        challenge, self._challenge = self._challenge, None
        if challenge is None or not self.established:
            return False
        try:
            secret = challenge.exchange(key.raw)
        except ValueError:
            return False
        return equal(self._proof(secret, key.raw), proof)


def _unit(message: bytes) -> bytes:
    return _length.pack(len(message)) + message
