"""UDP round trips: `serve ADDRESS` prints its port and answers, `ask ADDRESS PORT COUNT` prints p50 and p99 in us."""

from __future__ import annotations

import json
import socket
import sys
import time


def serve(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 0))
        print(server.getsockname()[1], flush=True)
        while True:
            data, source = server.recvfrom(2048)
            server.sendto(data, source)


def ask(address: str, port: int, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.settimeout(5)
        times = sorted(_one(client) for _ in range(count))
    print(json.dumps([times[count // 2], times[count * 99 // 100]]))


def _one(client: socket.socket) -> float:
    began = time.perf_counter_ns()
    client.send(b"x" * 64)
    client.recv(2048)
    return (time.perf_counter_ns() - began) / 1e3


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
