"""What a hostile plugin would try, each attempt by its name; a program that confines itself, tries, and reports."""

from __future__ import annotations

import array
import asyncio
import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ghostwire.errors import PlatformError
from ghostwire.system.sandbox.confine import Confinement, confine
from ghostwire.system.sandbox.libc import LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, Libc

C = ctypes.CDLL(None, use_errno=True)
FACTS: dict[str, Any] = json.loads(sys.argv[1])
PARENT = os.getppid()


def call(number: int, *arguments: int | bytes) -> int:
    answer: int = C.syscall(number, *[a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments])
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer


def dial(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.connect(address)


def passed(name: str) -> socket.socket:
    return socket.socket(fileno=os.dup(FACTS[name]))


def raise_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard * 2, hard * 2))


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def big_file() -> None:
    with open(FACTS["folder"] + "/big", "wb") as file:
        file.seek(100 << 20)
        file.write(b"x")


def peek() -> None:
    """process_vm_readv of the parent's stack pointer would need an address: any answer but a refusal counts."""
    local = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(local), 8)
    try:
        call(310, PARENT, vector, 1, struct.pack("QQ", FACTS["address"], 8), 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


ESCAPES: dict[str, Callable[[], Any]] = {
    "read a private file of its parent": lambda: Path(FACTS["secret"]).read_bytes(),
    "read a descriptor that its parent left open": lambda: os.pread(FACTS["left_open"], 4, 0),
    "read its parent's environment": lambda: Path(f"/proc/{PARENT}/environ").read_bytes(),
    "open its parent's memory": lambda: os.close(os.open(f"/proc/{PARENT}/mem", os.O_RDONLY)),
    "read its parent's maps": lambda: Path(f"/proc/{PARENT}/maps").read_bytes(),
    "list its parent's descriptors": lambda: os.listdir(f"/proc/{PARENT}/fd"),
    "read what the machine shows of itself": lambda: Path("/proc/self/net/tcp").read_bytes(),
    "read the list of users": lambda: Path("/etc/passwd").read_bytes(),
    "list the root folder": lambda: os.listdir("/"),
    "connect by TCP": lambda: dial(socket.AF_INET, ("127.0.0.1", FACTS["port"])),
    "connect to a Unix socket": lambda: dial(socket.AF_UNIX, FACTS["unix"]),
    "connect to an abstract Unix socket": lambda: dial(socket.AF_UNIX, "\0" + FACTS["abstract"]),
    "make a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "make a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "make a pair that can send to others": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "bind a socket it was given": lambda: passed("blank").bind(("127.0.0.1", 0)),
    "listen on a socket it was given": lambda: passed("blank").listen(),
    "connect a socket it was given": lambda: passed("blank3").connect(("127.0.0.1", FACTS["port"])),
    "connect by sending (TCP fast open)": lambda: passed("blank2").sendto(b"x", 1 << 29, ("127.0.0.1", FACTS["port"])),
    "attach a BPF filter to a socket": lambda: passed("udp").setsockopt(
        socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(_RETURN))
    ),
    "signal its parent": lambda: os.kill(PARENT, signal.SIGUSR1),
    "have signals sent to its parent": lambda: fcntl.fcntl(FACTS["udp"], fcntl.F_SETOWN, PARENT),
    "trace its parent": lambda: call(101, 0x4206, PARENT, 0, 0),
    "read its parent's memory by system call": peek,
    "open its parent as a descriptor": lambda: os.close(os.pidfd_open(PARENT)),
    "lower its parent's limits": lambda: resource.prlimit(PARENT, resource.RLIMIT_CORE, (0, 0)),
    "pin its parent to a processor": lambda: os.sched_setaffinity(PARENT, os.sched_getaffinity(0)),
    "fork": fork,
    "write beside its folder": lambda: Path(FACTS["base"] + "/stray").write_bytes(b"x"),
    "write into shared memory": lambda: Path(FACTS["shm"]).write_bytes(b"x"),
    "open its parent's mode to all": lambda: os.chmod(FACTS["secret"], 0o600),
    "touch its parent's files": lambda: os.utime(FACTS["secret"]),
    "cut off its parent's files": lambda: os.truncate(FACTS["spare"], 0),
    "take a file of its parent": lambda: os.rename(FACTS["spare"], FACTS["folder"] + "/taken"),
    "link to a file of its parent": lambda: os.link(FACTS["secret"], FACTS["folder"] + "/linked"),
    "leave a symbolic link": lambda: os.symlink("/etc/shadow", FACTS["folder"] + "/symbolic"),
    "watch others' files": lambda: os.close(call(294, 0)),
    "keep memory in anonymous files": lambda: os.close(os.memfd_create("x")),
    "use io_uring": lambda: call(425, 1, bytes(120)),
    "use a keyring": lambda: call(250, 0, -3, 1),
    "unshare a user namespace": lambda: call(272, 0x10000000),
    "be dumpable again": lambda: call(157, 4, 1, 0, 0, 0),
    "outlive its parent": lambda: call(157, 1, 0, 0, 0, 0),
    "leave its session": lambda: os.setsid(),
    "write a file larger than allowed": big_file,
    "take more memory than allowed": lambda: mmap.mmap(-1, 300 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
    "take more shared memory than allowed": lambda: mmap.mmap(-1, 900 << 20),
    "hold more descriptors than allowed": lambda: [os.dup(FACTS["udp"]) for _ in range(300)],
    "raise its own limits": raise_limit,
    "type into a terminal": lambda: fcntl.ioctl(FACTS["terminal"], 0x5412, b"x"),
    "start a program": lambda: os.execv("/bin/true", ["true"]),
}
_RETURN = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFF))


def keep_files() -> None:
    folder = Path(FACTS["folder"])
    (folder / "deeper").mkdir()
    (folder / "new").write_bytes(b"kept")
    os.replace(folder / "new", folder / "deeper" / "kept")
    assert (folder / "deeper" / "kept").read_bytes() == b"kept"
    (folder / "deeper" / "kept").unlink()


def talk_by_udp() -> None:
    with passed("udp") as udp:
        udp.setblocking(True)
        udp.sendto(b"question", ("127.0.0.1", FACTS["udp_port"]))
        assert udp.recvfrom(100)[0] == b"answer"


def pass_descriptors() -> None:
    with passed("channel") as channel:
        data, descriptors, _, _ = socket.recv_fds(channel, 100, 4)
        assert data == b"take"
        channel.sendmsg([b"back"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def accept() -> None:
    with passed("listener") as listener, listener.accept()[0] as accepted:
        assert accepted.recv(10) == b"caller"


async def tls() -> None:
    """Over a socket pair to the parent."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(sock=passed("stream"), ssl=context, server_hostname="peer")
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"world"
    writer.close()


async def pairs() -> None:
    """The event loop's own socket pair, threads, timers."""
    assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()
    await asyncio.sleep(0.001)


def uvloop_runs() -> None:
    import uvloop

    uvloop.run(pairs())


def import_libraries() -> None:
    import aioquic.quic.connection
    import cryptography.x509
    import h11
    import nacl.public
    import websockets.asyncio.client

    for library in (aioquic, cryptography, h11, websockets):
        assert library
    assert nacl.public.PrivateKey.generate()


def signal_itself() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: seen.append(number))
    os.kill(os.getpid(), signal.SIGUSR2)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    assert len(seen) == 2


WORK: dict[str, Callable[[], Any]] = {
    "keep files in its folder": keep_files,
    "send and receive by a UDP socket it was given": talk_by_udp,
    "be given descriptors and give them back": pass_descriptors,
    "accept from a listener it was given": accept,
    "speak TLS over a socket it was given": lambda: asyncio.run(tls()),
    "run asyncio and threads": lambda: asyncio.run(pairs()),
    "run uvloop": uvloop_runs,
    "import what transports use": import_libraries,
    "signal itself": signal_itself,
    "read zones and certificates": lambda: ssl.create_default_context(),
}


def attempt(action: Callable[[], Any]) -> str:
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    except Exception as error:
        return repr(error)
    return "done"


def machine_code(code: bytes) -> None:
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()


ALONE: dict[str, Callable[[], Any]] = {
    "int80": lambda: machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"),
    "x32": lambda: C.syscall(ctypes.c_long(0x40000000 + 39)),
    "wait": lambda: (print("confined", flush=True), signal.pause()),
}


class OldLibc(Libc):
    """A kernel without what FACTS names."""

    def syscall(self, number: int, *arguments: int | bytes) -> int:
        version = FACTS.get("landlock")
        if number == LANDLOCK_CREATE_RULESET and version is not None:
            if version == 0:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            if arguments[0] == 0:
                return int(version)
        if number == LANDLOCK_RESTRICT_SELF and "unenforced" in FACTS:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        if number == 436 and "no close_range" in FACTS:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return super().syscall(number, *arguments)

    def install_filter(self, program: bytes) -> None:
        if "no seccomp" in FACTS:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        super().install_filter(program)


def closed_folder() -> str:
    """A folder that only its owner may read, as a Python in somebody's home is."""
    closed = Path(FACTS["base"] + "-closed")
    closed.mkdir(mode=0o700)
    return str(closed)


def report() -> dict[str, Any]:
    found: dict[str, Any] = {"measures": [], "lacking": {}}
    if not FACTS.get("free"):
        folder = os.open(FACTS["folder"], os.O_RDONLY | os.O_DIRECTORY)
        wanted = Confinement(
            parent=PARENT,
            keep=(0, 1, 2, *(FACTS[name] for name in FACTS["kept"])),
            folder=folder,
            readable=(closed_folder(),) if "closed" in FACTS else (),
            user=FACTS["user"],
            memory=256 << 20,
            hidden=(FACTS["base"],),
        )
        confined = confine(wanted, OldLibc())
        found = {"measures": confined.measures, "lacking": confined.lacking}
        FACTS["folder"] = "."
    if "alone" in FACTS:
        ALONE[FACTS["alone"]]()
    found["status"] = {"uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups()}
    if not FACTS.get("free"):
        found["work"] = {name: attempt(action) for name, action in WORK.items()}
    skip = FACTS.get("skip", ())
    found["escapes"] = {name: attempt(action) for name, action in ESCAPES.items() if name not in skip}
    return found


if __name__ == "__main__":
    try:
        print(json.dumps(report()), flush=True)
    except PlatformError as refusal:
        print(json.dumps({"refused": str(refusal)}), flush=True)
