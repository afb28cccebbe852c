"""A logged-in client of a relay as a bare socket: all that a generator needs of one."""

from __future__ import annotations

import json
import socket
import ssl

from nacl.public import Box, PrivateKey, PublicKey

from ghostwire_derp import frames

PATIENCE = 20.0
_UPGRADE = b"GET /derp HTTP/1.1\r\nHost: relay\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
_INFO = json.dumps({"version": frames.VERSION, "CanAckPings": True}).encode()


class Connection:
    """``key`` is its public key, ``sock`` its non-blocking socket."""

    def __init__(self, sock: socket.socket, key: bytes) -> None:
        self.sock, self.key = sock, key

    def close(self) -> None:
        self.sock.close()


class Client(Connection):
    """Logs in; nothing of that is left to be read."""

    def __init__(self, port: int, *, tls: bool) -> None:
        private = PrivateKey.generate()
        super().__init__(_connect(port, tls=tls), bytes(private.public_key))
        self._upgrade()
        kind, payload = self._frame()
        if kind != frames.SERVER_KEY or not payload.startswith(frames.MAGIC):
            raise RuntimeError(f"a relay began with frame {kind:#x}")
        box = Box(private, PublicKey(payload[len(frames.MAGIC) :][: frames.KEY_BYTES]))
        self.sock.sendall(frames.frame(frames.CLIENT_INFO, self.key + box.encrypt(_INFO)))
        kind, payload = self._frame()
        if kind != frames.SERVER_INFO or json.loads(box.decrypt(payload))["version"] != frames.VERSION:
            raise RuntimeError(f"a relay answered the login with frame {kind:#x}")
        self.sock.setblocking(False)

    def _upgrade(self) -> None:
        self.sock.sendall(_UPGRADE)
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"a relay answered {bytes(head)!r}")

    def _frame(self) -> tuple[int, bytes]:
        kind, length = frames.header.unpack(self._exactly(frames.HEADER_BYTES))
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise RuntimeError("a relay closed the connection while a client logged in")
            data += more
        return data


def _connect(port: int, *, tls: bool) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname="127.0.0.1")
