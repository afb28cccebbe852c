"""What each NAT of the lab really does (RFC 4787 and 5780), and who can punch through to whom."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from natlab import Lab

ADDRESSES = ("10.50.0.11", "10.50.0.111")
PORTS = (3478, 3479)
Outside = tuple[str, int]


class Reflector(threading.Thread):
    """Tells askers their outside address, from two addresses and two ports of ``relay1``.

    ``M`` is answered from where it arrived; ``F01`` from the other port, ``F11`` from the other address and port.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.sockets = {(i, j): lab.socket("relay1") for i in (0, 1) for j in (0, 1)}
        for (i, j), sock in self.sockets.items():
            sock.bind((ADDRESSES[i], PORTS[j]))
        self.stopping = threading.Event()

    def run(self) -> None:
        places = {sock: place for place, sock in self.sockets.items()}
        while not self.stopping.is_set():
            for sock in select.select(list(places), [], [], 0.05)[0]:
                self.answer(places[sock], *sock.recvfrom(2000))

    def answer(self, place: tuple[int, int], data: bytes, source: Outside) -> None:
        i, j = place
        if data[:1] == b"F":
            i, j = i ^ int(data[1:2]), j ^ int(data[2:3])
        self.sockets[i, j].sendto(b"R %s %d" % (source[0].encode(), source[1]), source)

    def close(self) -> None:
        self.stopping.set()
        self.join()
        for sock in self.sockets.values():
            sock.close()


def bound(lab: Lab, name: str, port: int = 0) -> socket.socket:
    """A UDP socket of a member, bound to any address."""
    sock = lab.socket(name)
    sock.bind(("0.0.0.0", port))
    return sock


def ask(sock: socket.socket, what: bytes, to: Outside, *, wait: float = 0.15, tries: int = 2) -> Outside | None:
    """Ask the reflector; our outside address, or None where no answer came."""
    for _ in range(tries):
        sock.sendto(what, to)
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
            with contextlib.suppress(OSError):
                data = sock.recv(2000)
                if data[:1] == b"R":
                    _, address, port = data.split()
                    return address.decode(), int(port)
    return None


def mapping(lab: Lab, name: str) -> str:
    """``none``, ``EIM`` (one outside port for all), ``ADM`` (one an address), ``APDM`` (one a destination)."""
    with bound(lab, name) as sock:
        seen = [ask(sock, b"M", (address, port)) for address in ADDRESSES for port in PORTS]
    if seen[0] is None:
        return "no UDP"
    if seen[0][0] == lab.addresses[name]:
        return "none"
    if len(set(seen)) == 1:
        return "EIM"
    return "ADM" if seen[0] == seen[1] and seen[2] == seen[3] else "APDM"


def filtering(lab: Lab, name: str) -> str:
    """``EIF`` (lets everybody in), ``ADF`` (the address we spoke to), ``APDF`` (the address and port)."""
    with bound(lab, name) as sock:
        if ask(sock, b"F11", (ADDRESSES[0], PORTS[0])):
            return "EIF"
        return "ADF" if ask(sock, b"F01", (ADDRESSES[0], PORTS[0])) else "APDF"


def hairpin(lab: Lab, name: str, neighbour: str) -> Outside | None:
    """Where a neighbour's packet to our outside address seems to come from; None where it does not arrive."""
    with bound(lab, name) as sock, bound(lab, neighbour) as other:
        ask(other, b"M", (ADDRESSES[0], PORTS[0]))
        outside = ask(sock, b"M", (ADDRESSES[0], PORTS[0]))
        if outside is None:
            return None
        other.sendto(b"hairpin", outside)
        if not select.select([sock], [], [], 0.3)[0]:
            return None
        source: Outside = sock.recvfrom(100)[1]
        return source


class _Puncher:
    """One end: sends to every address it knows of the other, answers whoever asks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.targets, self.answered = sock, set[Outside](), False

    def send(self) -> None:
        for target in self.targets:
            with contextlib.suppress(OSError):
                self.sock.sendto(b"ping", target)

    def receive(self) -> None:
        with contextlib.suppress(OSError):
            data, source = self.sock.recvfrom(100)
            if data == b"ping":
                self.targets.add(source)
                self.sock.sendto(b"pong", source)
            self.answered = self.answered or data == b"pong"


def punch(lab: Lab, a: str, b: str, *, seconds: float = 1.2) -> bool | None:
    """Both learn their outside address of one server, swap them and send every 50 ms, answering what they see.

    True where both got an answer; None where the reflector did not answer.
    """
    with bound(lab, a) as sock_a, bound(lab, b) as sock_b:
        outside = [ask(sock, b"M", (ADDRESSES[0], PORTS[0])) for sock in (sock_a, sock_b)]
        if outside[0] is None or outside[1] is None:
            return None
        ends = {sock_a: _Puncher(sock_a), sock_b: _Puncher(sock_b)}
        ends[sock_a].targets.add(outside[1])
        ends[sock_b].targets.add(outside[0])
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and not all(end.answered for end in ends.values()):
            for end in ends.values():
                end.send()
            round_ends = time.monotonic() + 0.05
            while (left := round_ends - time.monotonic()) > 0:
                for sock in select.select(list(ends), [], [], left)[0]:
                    ends[sock].receive()
        return all(end.answered for end in ends.values())
