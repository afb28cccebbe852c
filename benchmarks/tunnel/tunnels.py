"""The tunnels that are measured: ours, and wireguard-go in whatever build."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.tunnel.namespaces import Side

from ghostwire.keys import NodeKey, PrivateKey

MTU = 1280
PORT = 41_641
ROOT = Path(__file__).resolve().parents[2]
Pair = tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
Tunnel = Callable[[Side, Side], "contextlib.AbstractContextManager[Pair]"]


@contextlib.contextmanager
def ours(left: Side, right: Side, *, isolated: bool = False, rules: int = 0) -> Iterator[Pair]:
    """Two processes of `benchmarks.tunnel.node`, their transports in processes of their own if so asked, each with a
    filter by so many rules, where there are any."""
    keys = [PrivateKey.generate() for _ in range(2)]
    with contextlib.ExitStack() as stack:
        nodes = [
            stack.enter_context(_node(side, own, other, isolated=isolated, rules=rules))
            for side, own, other in ((left, keys[0], keys[1]), (right, keys[1], keys[0]))
        ]
        _await_ping(left)
        yield nodes[0], nodes[1]


@contextlib.contextmanager
def _node(
    side: Side, key: PrivateKey, other: PrivateKey, *, isolated: bool, rules: int
) -> Iterator[subprocess.Popen[bytes]]:
    settings = {
        "isolated": isolated,
        "rules": rules,
        "private_key": key.raw.hex(),
        "peer_key": other.public(NodeKey).raw.hex(),
        "interface": "gw0",
        "mtu": MTU,
        "port": PORT,
        "address": side.address,
        "peer_address": f"{side.far_address}/32",
        "endpoint": f"{side.far_link}:{PORT}",
    }
    arguments = [sys.executable, "-m", "benchmarks.tunnel.node"]
    process = side.start(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdin
    assert process.stdout
    with _ended(process):
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("our tunnel did not start")
        yield process
        process.stdin.close()
        process.wait(10)


def wireguard_go(program: str) -> Tunnel:
    """Two processes of this wireguard-go, configured by wg(8)."""

    @contextlib.contextmanager
    def tunnel(left: Side, right: Side) -> Iterator[Pair]:
        keys = [PrivateKey.generate() for _ in range(2)]
        with contextlib.ExitStack() as stack:
            ends = [
                stack.enter_context(_wireguard_go(program, side, f"gwb{os.getpid()}{letter}", own, other))
                for letter, side, own, other in (("a", left, keys[0], keys[1]), ("b", right, keys[1], keys[0]))
            ]
            _await_ping(left)
            yield ends[0], ends[1]

    return tunnel


@contextlib.contextmanager
def _wireguard_go(
    program: str, side: Side, name: str, key: PrivateKey, other: PrivateKey
) -> Iterator[subprocess.Popen[bytes]]:
    process = side.start([program, "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with _ended(process), tempfile.NamedTemporaryFile() as file:
        file.write(base64.b64encode(key.raw))
        file.flush()
        _until(Path(f"/var/run/wireguard/{name}.sock").exists, f"{program} did not start")
        peer = base64.b64encode(other.public(NodeKey).raw).decode()
        side.run(
            f"wg set {name} private-key {file.name} listen-port {PORT} "
            f"peer {peer} allowed-ips {side.far_address}/32 endpoint {side.far_link}:{PORT}".split()
        )
        side.run(f"ip addr add {side.address}/32 dev {name}".split())
        side.run(f"ip link set {name} mtu {MTU} up".split())
        side.run(f"ip route add {side.far_address}/32 dev {name}".split())
        yield process


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)


def _await_ping(side: Side) -> None:
    side.run(["ping", "-c", "1", "-w", "10", side.far_address])


def _until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 10
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(what)
        time.sleep(0.02)
