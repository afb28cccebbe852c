"""Two throwaway network namespaces joined by a veth pair, and commands that run inside one of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MTU_OF_LINK = 1500


@dataclass(frozen=True, slots=True)
class Side:
    """One namespace: its own and the other side's addresses outside (``link``) and inside the tunnel."""

    namespace: str
    link: str
    address: str
    far_link: str
    far_address: str

    def command(self, arguments: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *arguments]

    def start(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(arguments), **options)

    def run(self, arguments: Sequence[str], **options: Any) -> str:
        done = subprocess.run(self.command(arguments), capture_output=True, text=True, timeout=120, **options)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


@contextlib.contextmanager
def two_namespaces() -> Iterator[tuple[Side, Side]]:
    """Both sides; the namespaces go away with everything in them, whatever happens."""
    names = [f"gwbench{os.getpid()}{letter}" for letter in "ab"]
    links, addresses = ("192.0.2.1", "192.0.2.2"), ("10.99.0.1", "10.99.0.2")
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "uplink", "netns", names[0], "type", "veth", "peer", "name", "uplink", "netns", names[1])
        for name, link in zip(names, links, strict=True):
            _ip("-n", name, "addr", "add", f"{link}/24", "dev", "uplink")
            _ip("-n", name, "link", "set", "uplink", "mtu", str(MTU_OF_LINK), "up")
        yield (
            Side(names[0], links[0], addresses[0], links[1], addresses[1]),
            Side(names[1], links[1], addresses[1], links[0], addresses[0]),
        )
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
