"""The parts of the sandbox that need no process of their own."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest

from ghostwire.errors import PlatformError
from ghostwire.system.sandbox import landlock, seccomp, users
from ghostwire.system.sandbox.callnumbers import NUMBERS
from ghostwire.system.sandbox.calls import ALLOWED, REFUSED
from ghostwire.system.sandbox.confine import Confinement, confine
from ghostwire.system.sandbox.descriptors import LAST, gaps
from ghostwire.system.sandbox.libc import Libc
from ghostwire.system.sandbox.readable import runtime, within

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}


@pytest.mark.parametrize("machine", list(HEADERS))
def test_the_numbers_are_those_of_the_systems_headers(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    there = {name: int(number) for name, number in lines}
    there |= {"newfstatat": there["fstatat"]} if "fstatat" in there else {}
    known = {name: number for name, number in NUMBERS[machine].items() if name in there}
    assert known == {name: there[name] for name in known}
    assert set(NUMBERS[machine]) == set(known)


def test_every_call_of_the_lists_has_a_number_and_stands_in_one_list_only() -> None:
    lists = [*ALLOWED, *REFUSED]
    assert len(lists) == len(set(lists))
    assert set(lists) <= set(NUMBERS["x86_64"])
    assert set(NUMBERS["aarch64"]) < set(NUMBERS["x86_64"])
    for machine in NUMBERS.values():
        assert len(set(machine.values())) == len(machine)


@pytest.mark.parametrize("machine", list(NUMBERS))
def test_the_filter_fits_into_the_kernel(machine: str) -> None:
    program = seccomp.program(machine, 1234)
    assert program is not None
    assert len(program) % 8 == 0
    assert len(program) // 8 <= 4096  # BPF_MAXINSNS


def test_other_processors_have_no_filter() -> None:
    assert seccomp.program("riscv64", 1) is None


def test_between_kept_descriptors_all_are_closed() -> None:
    assert list(gaps([4, 0, 1])) == [(2, 3), (5, LAST)]
    assert list(gaps([])) == [(0, LAST)]


def test_a_plugins_user_is_the_same_each_time_and_of_the_range_without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(users, "_running", lambda parent: iter(()))
    first = users.own_user("quic")
    assert first == users.own_user("quic") == next(users.candidates("quic"))
    assert users.own_user("websocket") != first
    assert sorted(users.candidates("quic")) == list(range(users.FIRST, users.LAST + 1))


def test_a_user_that_has_a_name_or_a_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = [user for user, _ in zip(users.candidates("quic"), range(3), strict=False)]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(users, "_running", lambda parent: iter((first,)))
    monkeypatch.setattr(users, "_named", lambda user: user == second)
    assert users.own_user("quic") == third


def test_without_root_there_is_no_other_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert users.own_user("quic") is None


def test_a_hidden_folder_that_plugins_would_read_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "site" / "state"
    with pytest.raises(PlatformError, match=r"state: lies in .*site, which plugins must read; move it out"):
        confine(Confinement(parent=1, keep=(), readable=(str(tmp_path / "site"),), hidden=(str(state),)))


def test_a_symbolic_link_does_not_hide_where_a_folder_lies(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert within(str(tmp_path / "link" / "state"), [str(tmp_path / "real")]) == str(tmp_path / "real")
    assert within(str(tmp_path / "reality"), [str(tmp_path / "real")]) == ""


def test_nothing_private_is_among_what_python_needs() -> None:
    for private in ("/etc/shadow", "/etc/ssl/private", "/proc", "/run", "/var/lib/ghostwire", "/dev/shm", "/root"):
        assert within(private, runtime()) == ""


class Old(Libc):
    """A kernel with an older Landlock; keeps what it was asked for."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version, self.asked = version, b""

    def syscall(self, number: int, *arguments: int | bytes) -> int:
        if isinstance(arguments[0], bytes):
            self.asked = arguments[0]
            return 99
        return self.version


@pytest.mark.skipif(platform.system() != "Linux", reason="Landlock is Linux's")
@pytest.mark.parametrize(("version", "size"), [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (7, 24)])
def test_an_older_landlock_is_asked_for_what_it_knows(version: int, size: int) -> None:
    old = Old(version)
    landlock.Ruleset(old)
    assert len(old.asked) == size
    handled = int.from_bytes(old.asked[:8], "little")
    assert bool(handled & landlock.TRUNCATE) == (version >= 3)
    assert bool(handled & landlock.IOCTL_DEV) == (version >= 5)
