"""Networks behind routers of the mesh, echoes that run there, and what shows how long and where packets went."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence

from natlab import Lab

PORT = 7007
ETH_P_ALL = 0x0003


def lan(lab: Lab, name: str, *routers: str) -> tuple[str, str]:
    """A host with a switch, into which each router is plugged as ``lan0``; the host's addresses.

    The host is 10.70.0.9 and fd70::9, the routers .1, .2 and so on.
    """
    member = lab._member(name)
    member.links += ["link add sw type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set sw up"]
    member.links += ["addr add 10.70.0.9/24 dev sw", "addr add fd70::9/64 dev sw nodad"]
    for number, router in enumerate(routers, 1):
        lab._cables.append((name, f"p{number}", router, "lan0"))
        member.links += [f"link set p{number} master sw", f"link set p{number} up"]
        lab.members[router].links += [
            "link set lan0 up",
            f"addr add 10.70.0.{number}/24 dev lan0",
            f"addr add fd70::{number}/64 dev lan0 nodad",
        ]
    return "10.70.0.9", "fd70::9"


@contextlib.contextmanager
def echoing(lab: Lab, member: str, port: int = PORT) -> Iterator[list[str]]:
    """UDP and TCP echoes of both families on a member; the list grows with the addresses of who came."""
    came: list[str] = []
    with contextlib.ExitStack() as stack:
        for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for kind, serve in ((socket.SOCK_DGRAM, _echo_datagrams), (socket.SOCK_STREAM, _echo_streams)):
                sock = lab.socket(member, family, kind)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((everywhere, port))
                threading.Thread(target=serve, args=(sock, came), daemon=True).start()
                stack.callback(_end, sock)
        yield came


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _echo_datagrams(sock: socket.socket, came: list[str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, source = sock.recvfrom(2048)
            if not data:
                return
            came.append(source[0])
            sock.sendto(data, source)


def _echo_streams(sock: socket.socket, came: list[str]) -> None:
    sock.listen()
    with contextlib.suppress(OSError):
        while True:
            stream, source = sock.accept()
            came.append(source[0])
            threading.Thread(target=_echo_stream, args=(stream,), daemon=True).start()


def _echo_stream(stream: socket.socket) -> None:
    with stream, contextlib.suppress(OSError):
        while data := stream.recv(4096):
            stream.sendall(data)


def asks(
    lab: Lab,
    member: str,
    address: str,
    port: int = PORT,
    kind: int = socket.SOCK_DGRAM,
    *,
    timeout: float = 1.0,
) -> bool:
    """Whether the echo at that address answers this member."""
    with lab.socket(member, socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
        sock.settimeout(timeout)
        with contextlib.suppress(OSError):
            sock.connect((address, port))
            sock.send(b"?")
            return sock.recv(10) == b"?"
    return False


def until_asked(lab: Lab, member: str, address: str, *, patience: float = 30.0) -> float:
    """Ask five times a second until an answer comes; the seconds that took."""
    began = time.monotonic()
    while not asks(lab, member, address, timeout=0.2):
        assert time.monotonic() - began < patience, f"{address} does not answer {member}"
    return time.monotonic() - began


class Conversation:
    """A TCP stream to an echo, a word every ``pause`` seconds, from entering to leaving.

    ``gap`` is the longest silence, ``last`` when the last word came back.
    """

    def __init__(self, lab: Lab, member: str, address: str, port: int = PORT, *, pause: float = 0.1) -> None:
        self._sock = lab.socket(member, socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self._sock.settimeout(20)
        self._sock.connect((address, port))
        self._over = threading.Event()
        self.error = ""
        self._pause, self.last = pause, time.monotonic()
        self.gap = 0.0
        self.answered = 0
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def __enter__(self) -> Conversation:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(1)
        if self._thread.is_alive():
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._sock.close()

    def _talk(self) -> None:
        try:
            while not self._over.is_set():
                began = time.monotonic()
                word = b"%08d" % self.answered
                self._sock.sendall(word)
                assert _exactly(self._sock, len(word)) == word
                self.last = time.monotonic()
                self.gap = max(self.gap, self.last - began)
                self.answered += 1
                self._over.wait(self._pause)
        except (OSError, AssertionError) as error:
            self.error = str(error) or type(error).__name__


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("ended")
        data += part
    return data


class Leaks:
    """Packets that leave a member's uplink for these addresses, in the open, since `__enter__`."""

    def __init__(self, lab: Lab, member: str, targets: Sequence[str], interface: str = "eth0") -> None:
        self._targets = {socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in targets}
        self._sock = lab.socket(member, socket.AF_PACKET, socket.SOCK_RAW)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._sock.bind((interface, ETH_P_ALL))
        self._sock.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: list[bytes] = []

    def __enter__(self) -> Leaks:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._sock.close()

    def _watch(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                frame = self._sock.recv(2048)
                kind = struct.unpack_from("!H", frame, 12)[0]
                target = frame[30:34] if kind == 0x0800 else frame[38:54] if kind == 0x86DD else b""
                if target in self._targets:
                    self.seen.append(frame)
