"""The parent of a hostile process, with secrets: starts it, serves what it may use, and says what became of itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = json.loads(sys.argv[1])
BASE = Path(FACTS["base"])
SIGNALS: list[int] = []
signal.signal(signal.SIGUSR1, lambda number, _: SIGNALS.append(number))


def listener(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind(address)
    made.listen()
    return made


def serve_udp(udp: socket.socket) -> None:
    _, sender = udp.recvfrom(100)
    udp.sendto(b"answer", sender)


def serve_tls(stream: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FACTS["certificate"], FACTS["key"])
    try:
        with context.wrap_socket(stream, server_side=True) as tls:
            assert tls.recv(5) == b"hello"
            tls.sendall(b"world")
    except OSError:
        pass  # a hostile process that never speaks


def start() -> None:
    (BASE / "secret").write_bytes(b"the node's key")
    (BASE / "secret").chmod(0o600)
    (BASE / "spare").write_bytes(b"spare")
    folder = BASE / "folder"
    folder.mkdir(exist_ok=True)
    tcp = listener(socket.AF_INET, ("127.0.0.1", 0))
    unix = [listener(socket.AF_UNIX, name) for name in (str(BASE / "socket"), f"\0ghostwire-test-{os.getpid()}")]
    blank, blank2, blank3 = socket.socket(), socket.socket(), socket.socket()
    udp, far_udp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for one in (udp, far_udp):
        one.bind(("127.0.0.1", 0))
        one.settimeout(60)
    stream, far_stream = socket.socketpair()
    channel, far_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    accepting = listener(socket.AF_INET, ("127.0.0.1", 0))
    caller = socket.create_connection(accepting.getsockname())
    caller.sendall(b"caller")
    socket.send_fds(far_channel, [b"take"], [accepting.fileno()])
    terminal = os.openpty()[1]
    left_open = os.open(BASE / "secret", os.O_RDONLY)
    given = {
        "blank": blank,
        "blank2": blank2,
        "blank3": blank3,
        "udp": udp,
        "stream": stream,
        "channel": channel,
        "listener": accepting,
    }
    facts = FACTS | {name: one.fileno() for name, one in given.items()}
    facts |= {"kept": [*given, "terminal"], "terminal": terminal, "left_open": left_open, "folder": str(folder)}
    facts |= {"secret": str(BASE / "secret"), "spare": str(BASE / "spare"), "unix": str(BASE / "socket")}
    facts |= {"abstract": f"ghostwire-test-{os.getpid()}", "port": tcp.getsockname()[1]}
    facts |= {
        "udp_port": far_udp.getsockname()[1],
        "address": id(SIGNALS),
        "shm": f"/dev/shm/{BASE.name}-{os.getpid()}",
    }
    for target, argument in ((serve_udp, far_udp), (serve_tls, far_stream)):
        threading.Thread(target=target, args=(argument,), daemon=True).start()
    passing = [one.fileno() for one in given.values()] + [terminal, left_open]
    hostile = [sys.executable, str(Path(__file__).with_name("hostile.py")), json.dumps(facts)]
    child = subprocess.Popen(hostile, pass_fds=passing, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    first = child.stdout.readline()
    if FACTS.get("alone") == "wait":
        return print(first.strip(), child.pid, flush=True)
    child.wait()
    Path(facts["shm"]).unlink(missing_ok=True)
    found = json.loads(first) if first else {}
    print(json.dumps(found | {"exit": child.returncode, "signals": len(SIGNALS), "listening": len(unix)}))
    return None


if __name__ == "__main__":
    start()
    sys.stdout.flush()
    os._exit(0)  # at once: threads may wait for a process that never spoke
