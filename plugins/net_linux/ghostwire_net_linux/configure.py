"""A short-lived child that configures one interface: `python -m ghostwire_net_linux.configure`.

The netlink library costs more memory than a node may use for good, so only this child imports it. It reads one JSON
`Request` on stdin and writes one JSON `Answer` on stdout.
"""

from __future__ import annotations

import signal
import sys

import msgspec

QUEUE = 2_000
"""Packets that wait for us in the kernel: at 1 Gbit/s what comes while the scheduler lets others run for 20 ms."""


ORPHANED = 25
"""Seconds after which it ends by itself, should its parent be gone and the kernel not answer."""


class Request(msgspec.Struct, frozen=True):
    """What the interface should have; ``up`` False takes it down, with everything of ours on it.

    ``connected`` are the networks that this machine is directly on, ``forward`` the prefixes that it passes packets on
    to, ``saved`` the file that remembers what the kernel's settings were. Without an ``interface`` it is asked to clean
    up after nodes that are no more.
    """

    interface: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    lan: bool = False
    connected: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    saved: str = ""
    up: bool = True


class Answer(msgspec.Struct, frozen=True):
    """``changes`` is what was done, ``skipped`` what this machine cannot do, ``error`` what failed, if anything."""

    changes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    error: str = ""
    permission: bool = False


def main() -> None:
    """Answer the request on stdin."""
    signal.alarm(ORPHANED)
    from ghostwire_net_linux.child import carry_out

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(carry_out(request)))


if __name__ == "__main__":
    main()
