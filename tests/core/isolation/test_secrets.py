"""No key, no plaintext, no file of the daemon's reaches a stranger's plugin, however it looks for them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.plugins.isolation.pseudonyms import pseudonym, secret_beside
from ghostwire.testing.contracts.transport import Inbox

from .conftest import ECHO, NODE_KEY

SPY = '''
def spy(context, secret, parent):
    """Every way to the daemon that there is in Python, /proc or files; what it found."""
    import gc, inspect, os, socket, subprocess, sys, ctypes
    found = []
    def attempt(name, what):
        try:
            got = what()
        except BaseException:
            return
        if got:
            found.append(f"{name}: {got!r:.60}")
    attempt("key file", lambda: open(secret, "rb").read())
    attempt("pseudonym", lambda: open(os.path.join("..", "pigeon.pseudonym"), "rb").read())
    for name in ("environ", "mem", "maps", "cmdline", "fd", "root", "cwd"):
        attempt(name, lambda: open(f"/proc/{parent}/{name}", "rb").read(64) if name != "fd"
                else os.listdir(f"/proc/{parent}/fd"))
    attempt("passwd", lambda: open("/etc/shadow").read())
    attempt("signal", lambda: os.kill(parent, 0) is None)
    attempt("program", lambda: subprocess.run(["/bin/true"]).returncode == 0)
    attempt("fork", lambda: os.fork() + 1)
    attempt("socket", lambda: socket.socket())
    attempt("tun", lambda: open("/dev/net/tun", "rb"))
    attempt("root", lambda: os.setuid(0) is None and os.getuid() == 0)
    attempt("write", lambda: open("/tmp/pigeon-was-here", "w"))
    attempt("mark", lambda: context.sockets.udp("127.0.0.1", 0).setsockopt(1, 36, 7) is None)
    libc = ctypes.CDLL(None, use_errno=True)
    attempt("ptrace", lambda: libc.ptrace(16, parent, 0, 0) == 0)
    attempt("modules", lambda: [n for n in sys.modules if n.startswith(("ghostwire.node", "ghostwire_transport_w"))])
    attempt("objects", lambda: [o for o in gc.get_objects() if type(o).__name__ in ("PrivateKey", "Device", "Tunnel")])
    attempt("frames", lambda: [f for f in inspect.stack() if "/node/" in f.filename])
    attempt("environment", lambda: set(os.environ) - {"LC_ALL", "LC_CTYPE"})
    return found or ["nothing"]
'''


async def test_a_spy_finds_no_way_to_the_daemon(make: Any, tmp_path: Path, caplog: Any) -> None:
    secret = tmp_path / "node.key"
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o600)
    source = ECHO.replace(
        "self.receive = receive\n",
        f"self.receive = receive\n        self.found = spy(self.context, {str(secret)!r}, {os.getpid()})\n",
    ).replace('return [f"127.0.0.1:{self.port}"]', "return self.found")
    transport = make(source + SPY)
    await transport.start(Inbox())
    assert list(transport.endpoints()) == ["nothing"]
    await transport.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")
async def test_no_marked_plaintext_and_no_key_is_in_the_childs_memory(make: Any, tmp_path: Path) -> None:
    plaintext, private = os.urandom(24), PrivateKey.generate()
    real = NODE_KEY.raw  # the node's public key, which it knows by a pseudonym alone
    transport, other, inbox = make(), make(), Inbox()
    await transport.start(Inbox())
    await other.start(inbox)
    ciphertext = os.urandom(1000)
    transport.path(other.endpoints()[0]).send([ciphertext])
    await asyncio.wait_for(inbox.count(1), 20)
    memory = memory_of(transport.pid)
    assert b"ghostwire" in memory
    for secret in (plaintext, private.raw, private.raw.hex().encode(), real, real.hex().encode()):
        assert secret not in memory
    assert ciphertext in memory
    for each in (transport, other):
        await each.close()


def memory_of(pid: int) -> bytes:
    """All that can be read of a process's memory."""
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            area, rights = line.split()[:2]
            start, end = (int(text, 16) for text in area.split("-"))
            if "w" in rights:
                try:
                    memory.seek(start)
                    parts.append(memory.read(end - start))
                except (OSError, ValueError):
                    continue
    return b"".join(parts)


def test_a_pseudonym_is_stable_and_each_plugins_own(tmp_path: Path) -> None:
    folder = tmp_path / "pigeon"
    secret = secret_beside(folder, os.urandom)
    assert secret == secret_beside(folder, os.urandom)
    assert (tmp_path / "pigeon.pseudonym").stat().st_mode & 0o777 == 0o600
    key = NodeKey(bytes(32))
    names = {pseudonym(secret, key, "a"), pseudonym(secret, key, "b"), pseudonym(bytes(32), key, "a"), key}
    assert len(names) == 4


async def test_the_child_dies_with_a_daemon_that_is_killed() -> None:
    script = (
        "import os, sys, time\n"
        "from ghostwire.plugins.isolation.spawn import spawn\n"
        "from ghostwire.plugins.isolation.setups import setup_of\n"
        "from ghostwire.plugins.isolation.protocol import encode\n"
        "child = spawn(output=False)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    pid = int(daemon.stdout.readline())
    watched = os.pidfd_open(pid)
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, over.set)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon.stdout.close()
    try:
        await asyncio.wait_for(over.wait(), 20)
    finally:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)
