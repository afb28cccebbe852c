"""A TUN device: whole IP packets between the kernel and the program, in bursts.

The device is not persistent: it lives as long as its file descriptor, so a killed process leaves nothing behind.
Each packet read or written is preceded by a virtio header, which lets those of one flow be written joined (`offload`).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import os
import re
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from ghostwire import BURST, Buffer, Device
from ghostwire.capabilities.platform import Deliver
from ghostwire.errors import PermissionDenied, PlatformError
from ghostwire_net_linux.offload import VIRTIO_HEADER, joined

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x4000, 0x8000
_FLAGS = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
_TUNSETOFFLOAD = 0x400454D0
_TUN_F_CSUM, _TUN_F_USO4, _TUN_F_USO6 = 0x01, 0x20, 0x40
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", re.ASCII)


def open_tun(name: str, node: str = "/dev/net/tun") -> int:
    """A new TUN interface of this name: its non-blocking file descriptor.

    PlatformError where the kernel has none or the name is taken, PermissionDenied where CAP_NET_ADMIN is missing.
    """
    if not _NAME.fullmatch(name):
        raise PlatformError(f"interface name {name[:40]!r}: 1 to 15 letters, digits, '_', '-' or '.' expected")
    descriptor = _open_node(node)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _FLAGS))
    except OSError as error:
        os.close(descriptor)
        raise _refusal(name, error) from None
    return descriptor


def _takes_joined_udp(descriptor: int) -> bool:
    """Whether the kernel (6.2 and later) segments UDP on a TUN device; asked by an offload that is taken back."""
    with suppress(OSError):
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_USO4 | _TUN_F_USO6)
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, 0)
        return True
    return False


def _open_node(node: str) -> int:
    try:
        return os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            text = f"{node} is missing: run modprobe tun, or in a container add --device /dev/net/tun"
            raise PlatformError(text) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PermissionDenied(f"{node}: may not be opened: run as root") from None
        raise PlatformError(f"{node}: cannot be opened: {error.strerror}") from None


def _refusal(name: str, error: OSError) -> Exception:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionDenied(f"interface {name}: may not be made: run as root or with CAP_NET_ADMIN")
    if error.errno in (errno.EBUSY, errno.EEXIST, errno.EINVAL):
        return PlatformError(
            f"interface {name} exists already: stop the program that made it or set interface in [node]"
        )
    return PlatformError(f"interface {name} cannot be made: {error.strerror}")


class LinuxDevice(Device):
    """A TUN interface; ``dropped`` counts packets that the kernel did not take."""

    def __init__(self, name: str, mtu: int, descriptor: int) -> None:
        self.name, self.mtu, self.dropped = name, mtu, 0
        self._file: io.FileIO | None = io.FileIO(descriptor, "r+")
        self._joins_udp = _takes_joined_udp(descriptor)
        self._deliver: Deliver | None = None
        size = VIRTIO_HEADER.size + mtu
        whole = memoryview(bytearray(BURST * size))
        self._slots = [whole[at : at + size] for at in range(0, len(whole), size)]

    def start(self, deliver: Deliver) -> None:
        """Deliver bursts from the running loop from now on."""
        if self._file is None:
            raise PlatformError(f"interface {self.name} is closed")
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._loop.add_reader(self._file.fileno(), self._read, self._file.readinto, deliver)

    def _read(self, readinto: Callable[[Buffer], int | None], deliver: Deliver) -> None:
        burst: list[Buffer] = []
        skip = VIRTIO_HEADER.size
        for slot in self._slots:
            try:
                size = readinto(slot)
            except OSError:
                break
            if not size:
                break
            burst.append(slot[skip:size])
        if burst:
            deliver(burst)

    def write(self, packets: Sequence[Buffer]) -> int:
        """Give packets to the kernel, as many as it takes."""
        taken = 0
        if self._file is not None:
            descriptor = self._file.fileno()
            for count, buffers in joined(packets, udp=self._joins_udp):
                try:
                    os.writev(descriptor, buffers)
                except OSError:
                    continue
                taken += count
        self.dropped += len(packets) - taken
        return taken

    def close(self) -> None:
        """Stop delivering; the interface vanishes with its descriptor."""
        if self._file is None:
            return
        if self._deliver is not None:
            self._loop.remove_reader(self._file.fileno())
        self._file.close()
        self._file = self._deliver = None
