"""Where the demo plays: unnamed network namespaces on one switch, gone with the processes that hold them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ghostwire.errors import PermissionDenied, PlatformError

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
NETWORK = "192.0.2"  # RFC 5737: addresses for documentation, nobody's
CABLE_MTU = 1500
NOWHERE = 99
"""A routing table from which nothing arrives."""
_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: int) -> None:
    if getattr(_libc, function)(*arguments):
        raise OSError(ctypes.get_errno(), function)


@dataclass(frozen=True)
class Place:
    """A namespace with one cable to the switch; ``fd`` holds it."""

    name: str
    address: str
    fd: int

    def interfaces(self, stage: Stage) -> set[str]:
        """The names of its interfaces."""
        with stage.inside(self):
            return {name for _, name in socket.if_nameindex()}


class Stage:
    """This process moves into a namespace of its own, which is the switch; places hang on it.

    It cannot move back: a process makes one stage and ends.
    """

    def __init__(self) -> None:
        self._check()
        self._enter()
        self._switch = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.places: list[Place] = []
        _ip("link set lo up", "link add switch type bridge stp_state 0 forward_delay 0", "link set switch up")

    def place(self, name: str, *, udp: bool = True) -> Place:
        """A new namespace with the next address; without ``udp`` such packets get lost on their way in and out."""
        _call("unshare", CLONE_NEWNET)
        fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _call("setns", self._switch, CLONE_NEWNET)
        place = Place(name, f"{NETWORK}.{len(self.places) + 1}", fd)
        self.places.append(place)
        cable = f"link add {name} mtu {CABLE_MTU} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{fd}"
        _ip(cable, f"link set {name} master switch", f"link set {name} up")
        with self.inside(place):
            _ip("link set lo up", "link set eth0 up", f"addr add {place.address}/24 dev eth0")
            if not udp:
                _lose_udp()
        return place

    @contextlib.contextmanager
    def inside(self, place: Place) -> Iterator[None]:
        """What this thread makes inside, sockets and child processes, is and stays in that place."""
        _call("setns", place.fd, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", self._switch, CLONE_NEWNET)

    def close(self) -> None:
        """Let go of the namespaces: the kernel removes each when its last process has ended."""
        for place in self.places:
            os.close(place.fd)
        self.places.clear()

    @staticmethod
    def _check() -> None:
        if not shutil.which("ip", path=_path()):
            raise PlatformError("the demo needs the program ip: apt-get install --no-install-recommends iproute2")
        try:
            os.close(os.open("/dev/net/tun", os.O_RDWR))
        except PermissionError:
            raise PermissionDenied(
                "/dev/net/tun is closed to this user: run as root, or let root say: chmod 0666 /dev/net/tun"
            ) from None
        except OSError as error:
            raise PlatformError(f"/dev/net/tun: {error.strerror}; load the module: modprobe tun") from None

    @staticmethod
    def _enter() -> None:
        """Root needs no user namespace; others are root of one of their own."""
        try:
            _call("unshare", CLONE_NEWNET)
        except PermissionError:
            _become_root()


def _become_root() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, "")
        raise PermissionDenied(
            f"this kernel gives this user no network namespaces ({reason}): run the demo as root"
        ) from None


def _ip(*commands: str) -> None:
    """Run ``ip`` commands where this thread is."""
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(
        ["ip", "-batch", "-"], input=text, text=True, capture_output=True, env={**os.environ, "PATH": _path()}
    )
    if done.returncode:
        raise PlatformError(f"ip could not carry out {commands[0]!r}: {done.stderr.strip()}")


def _lose_udp() -> None:
    """By routing alone, which every kernel can: packets led to lo with an address of another place are dropped there.

    The rule has to go before the one for local addresses, or else packets that come in would still be delivered.
    """
    _ip(
        f"route add default dev lo table {NOWHERE}",
        "rule add pref 1 lookup local",
        "rule del pref 0",
        f"rule add pref 0 ipproto udp to {NETWORK}.0/24 lookup {NOWHERE}",
    )


def _path() -> str:
    """Users' paths often leave out where Debian keeps ip."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
