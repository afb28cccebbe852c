"""A bare client of any DERP relay from a member of the lab: sees each frame as it came, shares no code with ours."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from typing import Self

from nacl.public import Box, PrivateKey, PublicKey
from natlab import Lab

MAGIC = bytes.fromhex("44455250f09f9491")
SERVER_KEY, CLIENT_INFO, SERVER_INFO, SEND, RECEIVED, KEEP_ALIVE, PEER_GONE = 1, 2, 3, 4, 5, 6, 8
_REQUEST = b"GET /derp HTTP/1.1\r\nHost: relay\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
_head = struct.Struct(">BI")


class DerpClient:
    """Logged in over TLS; ConnectionError where the relay did not let it. Its socket gives up after ``patience`` s."""

    def __init__(
        self, lab: Lab, member: str, address: str, port: int = 443, *, key: bytes | None = None, patience: float = 10
    ) -> None:
        private = PrivateKey(key) if key else PrivateKey.generate()
        self.key = bytes(private.public_key)
        plain = lab.socket(member, kind=socket.SOCK_STREAM)
        plain.settimeout(patience)
        plain.connect((address, port))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._sock = context.wrap_socket(plain, server_hostname=address)
        self._buffer = bytearray()
        try:
            self._log_in(private)
        except BaseException:
            self.close()
            raise

    def _log_in(self, private: PrivateKey) -> None:
        self._sock.sendall(_REQUEST)
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionError(f"answered {head!r}")
        self._buffer[:] = rest
        kind, payload = self.frame()
        assert kind == SERVER_KEY
        assert payload.startswith(MAGIC)
        box = Box(private, PublicKey(payload[8:40]))
        self._send(CLIENT_INFO, self.key + box.encrypt(json.dumps({"version": 2, "CanAckPings": True}).encode()))
        kind, payload = self.frame()
        assert kind == SERVER_INFO
        assert json.loads(box.decrypt(payload))["version"] == 2

    def send(self, target: bytes, data: bytes) -> None:
        self._send(SEND, target + data)

    def receive(self) -> tuple[bytes, bytes]:
        """Source and data of the next packet; TimeoutError where none comes."""
        while True:
            kind, payload = self.frame()
            if kind == RECEIVED:
                return payload[:32], payload[32:]

    def frame(self) -> tuple[int, bytes]:
        """Type and payload of the next frame; ConnectionError where the relay closed."""
        while True:
            if len(self._buffer) >= _head.size:
                kind, size = _head.unpack_from(self._buffer)
                if len(self._buffer) >= (whole := _head.size + size):
                    payload = bytes(self._buffer[_head.size : whole])
                    del self._buffer[:whole]
                    return kind, payload
            self._fill()

    def is_closed(self) -> bool:
        """Wait until the relay closes; False where it does not for as long as we have patience."""
        try:
            while True:
                self.frame()
        except TimeoutError:
            return False
        except OSError:
            return True

    def _send(self, kind: int, payload: bytes) -> None:
        self._sock.sendall(_head.pack(kind, len(payload)) + payload)

    def _fill(self) -> None:
        data = self._sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the relay closed the connection")
        self._buffer += data

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
