"""Settings of the kernel that routing needs: a file remembers what they were, so that they can be put back.

It is written before they change, and is of one boot and one network namespace: of others it says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ghostwire_net_linux.configure import Request
from ghostwire_net_linux.journal import Journal
from ghostwire_net_linux.plan import beyond

ROOT = Path("/proc/sys/net")
FORWARD_4, FORWARD_6 = "ipv4/ip_forward", "ipv6/conf/all/forwarding"
_HINT = "have it set from outside; in a container by --sysctl"


class _Saved(msgspec.Struct):
    """``values`` are, by name, what a setting was before, and what we made it; in the order of making."""

    place: str
    values: dict[str, tuple[str, str]] = {}


class Sysctls:
    """The settings that one node changed; ``file`` remembers them, none where it is None.

    ``shared``: another node runs here, which may rely on what this one set; so nothing is put back for now.
    """

    def __init__(self, file: Path | None, journal: Journal, root: Path = ROOT, *, shared: bool = False) -> None:
        self._file, self._journal, self._root, self._shared = file, journal, root, shared
        self._saved = self._load()

    def bring(self, request: Request) -> None:
        """Change what this needs, and put back what nothing needs any more."""
        wanted = dict(self._wanted(request))
        self._put_back([name for name in self._saved.values if name not in wanted])
        for name, value in wanted.items():
            self._set(name, value)

    def restore(self) -> None:
        """Put everything back."""
        self._put_back([*self._saved.values])

    def _wanted(self, request: Request) -> Iterator[tuple[str, str]]:
        """IPv6 routers take no router advertisements unless told to by 2; a strict reverse path filter would drop what
        comes to the node's own sockets by another way than routes lead."""
        if any("." in prefix for prefix in request.forward):
            yield FORWARD_4, "1"
        if any(":" in prefix for prefix in request.forward):
            for name in self._each("ipv6", "accept_ra"):
                if self._was(name) == "1":
                    yield name, "2"
            yield FORWARD_6, "1"
        if beyond((route for route in request.routes if "." in route), request.addresses):
            strict = self._was("ipv4/conf/all/rp_filter") == "1"
            for name in self._each("ipv4", "rp_filter"):
                if self._was(name) == "1" or (strict and self._was(name) == "0"):
                    yield name, "2"

    def _each(self, family: str, setting: str) -> list[str]:
        """The setting of every interface and of those to come."""
        places = sorted(self._root.glob(f"{family}/conf/*/{setting}"))
        return [str(path.relative_to(self._root)) for path in places if path.parent.name not in ("all", "lo")]

    def _was(self, name: str) -> str:
        """What it is, or was before we changed it."""
        return self._saved.values[name][0] if name in self._saved.values else self._read(name)

    def _set(self, name: str, value: str) -> None:
        before = self._read(name)
        if before in (value, ""):
            return
        if name not in self._saved.values:
            self._saved.values[name] = (before, value)
            self._store()
        if self._write(name, value):
            self._journal.changes.append(f"set net.{_dotted(name)} to {value}")
        elif self._saved.values[name][0] == before:
            del self._saved.values[name]
            self._store()

    def _put_back(self, names: list[str]) -> None:
        """In reverse; what others have changed since, or what is gone, is left."""
        if self._shared:
            return
        for name in reversed(names):
            before, ours = self._saved.values[name]
            if self._read(name) == ours and self._write(name, before):
                self._journal.changes.append(f"put net.{_dotted(name)} back to {before}")
            del self._saved.values[name]
        if names:
            self._store()

    def _read(self, name: str) -> str:
        with suppress(OSError):
            return (self._root / name).read_text().strip()
        return ""

    def _write(self, name: str, value: str) -> bool:
        try:
            (self._root / name).write_text(value)
        except OSError as error:
            self._journal.skipped.append(f"net.{_dotted(name)} cannot be set to {value} ({error.strerror}): {_HINT}")
            return False
        return True

    def _load(self) -> _Saved:
        place = _place()
        if self._file is not None:
            with suppress(OSError, msgspec.DecodeError):
                saved = msgspec.json.decode(self._file.read_bytes(), type=_Saved)
                if saved.place == place:
                    return saved
        return _Saved(place)

    def _store(self) -> None:
        if self._file is None:
            return
        if not self._saved.values:
            self._file.unlink(missing_ok=True)
            return
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._saved))
        fresh.replace(self._file)


def _place() -> str:
    """This boot and this network namespace."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/net').st_ino}"
    return ""


def _dotted(name: str) -> str:
    """As sysctl(8) writes it, where a dot in an interface's name is a slash."""
    return name.translate(str.maketrans("/.", "./"))
