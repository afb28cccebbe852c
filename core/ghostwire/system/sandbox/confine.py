"""All measures in their order, and what they came to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from ghostwire.errors import PlatformError
from ghostwire.system.sandbox import landlock, limits, privileges, seccomp
from ghostwire.system.sandbox.descriptors import close_others
from ghostwire.system.sandbox.folder import give_folder
from ghostwire.system.sandbox.libc import Libc
from ghostwire.system.sandbox.readable import runtime, within

REMEDY: Final = "set trusted = true for this plugin to run it without a process of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a process may keep; the parent decides it."""

    parent: int
    """Process id of the parent: its thread that started this process must live as long as this process may."""
    keep: Collection[int]
    """Descriptors that stay open; 0 to 2 are closed too unless they are named."""
    readable: Collection[str] = ()
    """Files and folders that may be read besides `readable.runtime`: code of plugins, say."""
    folder: int | None = None
    """Descriptor of the one folder that may be written; it stays open, and is the current one from then on: its path
    may lead through folders that are closed to this process."""
    hidden: Collection[str] = ()
    """Folders that must not be readable, whatever else is: the daemon's state."""
    memory: int = 256 << 20
    """Bytes."""
    user: int | None = None
    """Own user and group (`users.own_user`), None where this process can't change its user."""
    nice: int = 5


@dataclass(slots=True)
class Confined:
    """What holds from now on."""

    measures: list[str] = field(default_factory=list)
    """Names of the measures in force, as in the table of this package."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Names of the others, and why each lacks."""

    def attempt(self, name: str, measure: Callable[[], object]) -> bool:
        """Take a measure; a refusal by the system is written down."""
        try:
            measure()
        except (OSError, ValueError) as error:
            self.lacking[name] = str(error.strerror or error) if isinstance(error, OSError) else str(error)
            return False
        self.measures.append(name)
        return True


def confine(confinement: Confinement, libc: Libc | None = None) -> Confined:
    """Confine this process for good, its threads to come included; call it before any is started.

    PlatformError where this is not Linux, threads run already, a hidden folder is readable, or the system lacks so
    much that the process could read its user's secrets: then end the process, it is half confined.
    """
    _check(confinement)
    libc = libc or Libc()
    readable = [*runtime(), *filter(os.path.exists, confinement.readable)]
    confined = Confined()
    close_others({*confinement.keep, *([] if confinement.folder is None else [confinement.folder])}, libc)
    confined.measures.append("descriptors")
    os.chdir("/" if confinement.folder is None else confinement.folder)
    rules = _rules(readable, confinement.folder, libc, confined)
    own_user = _change_user(confinement, readable, bool(rules), libc, confined)
    confined.attempt("limits", lambda: limits.set_limits(confinement.memory, own_user=own_user))
    confined.attempt("nice", lambda: limits.be_nice(confinement.nice))
    confined.attempt("not dumpable", lambda: privileges.not_dumpable(libc))
    confined.attempt("dies with its parent", lambda: privileges.die_with_parent(confinement.parent, libc))
    confined.attempt("no new privileges", lambda: privileges.no_new_privileges(libc))
    files = rules is not None and _enforce(rules, confined)
    calls = confined.attempt("system calls", lambda: _filter(libc))
    _suffices(own_user, files, calls, confined)
    return confined


def _check(confinement: Confinement) -> None:
    if sys.platform != "linux":
        raise PlatformError(f"plugins are confined on Linux only, not on {sys.platform}; {REMEDY}")
    if threading.active_count() > 1:
        raise PlatformError("a process with threads cannot be confined: confine it before it starts any")
    for hidden in confinement.hidden:
        over = within(hidden, [*runtime(), *confinement.readable])
        if over:
            raise PlatformError(f"{hidden}: lies in {over}, which plugins must read; move it out, or {REMEDY}")


def _rules(readable: list[str], folder: int | None, libc: Libc, confined: Confined) -> landlock.Ruleset | None:
    """Made while every path can still be opened."""
    try:
        return landlock.prepare(readable, folder, libc)
    except OSError as error:
        confined.lacking["files"] = landlock.reason(error)
        return None


def _change_user(confinement: Confinement, readable: list[str], ruled: bool, libc: Libc, confined: Confined) -> bool:
    """Whether this process has a user of its own now; capabilities go in either case.

    Where Python itself lies in a folder closed to that user, one capability stays: to read what is closed, of which
    Landlock leaves no more than ``readable``.
    """
    privileges.drop_bounding(libc)
    user = confinement.user
    if user is None:
        confined.lacking["own user"] = "only root can change its user"
    elif confined.attempt("own user", lambda: _become(user, confinement.folder, libc)):
        _drop_all_but_reading([*readable, os.__file__, __file__], ruled, libc, confined)
        return True
    confined.attempt("capabilities", lambda: privileges.drop_capabilities(libc))
    return False


def _drop_all_but_reading(needed: list[str], ruled: bool, libc: Libc, confined: Confined) -> None:
    closed = privileges.closed_to_us(needed)
    if closed and not ruled:
        why = f"{confined.lacking['files']}, and {closed} is closed to the plugin's own user"
        raise PlatformError(f"{why}: open it to others (chmod o+rX), or {REMEDY}")
    if not closed:
        confined.attempt("capabilities", lambda: privileges.drop_capabilities(libc))
    else:
        privileges.drop_capabilities(libc, privileges.CAP_DAC_READ_SEARCH)
        confined.lacking["capabilities"] = f"{closed} is closed to its own user, so that it keeps the right to read"


def _become(user: int, folder: int | None, libc: Libc) -> None:
    if folder is not None:
        give_folder(folder, user)
    privileges.become(user, libc)


def _enforce(rules: landlock.Ruleset, confined: Confined) -> bool:
    in_force = confined.attempt("files", rules.enforce)
    for name, since in (("tcp", landlock.NET_SINCE), ("scopes", landlock.SCOPES_SINCE)):
        if in_force and rules.version >= since:
            confined.measures.append(name)
        else:
            confined.lacking[name] = f"this kernel's Landlock has version {rules.version}, {since} has it"
    return in_force


def _filter(libc: Libc) -> None:
    machine = os.uname().machine
    program = seccomp.program(machine, os.getpid())
    if program is None or sys.maxsize < 2**32:
        raise ValueError(f"system calls of {machine} are not known to GhostWire")
    try:
        libc.install_filter(program)
    except OSError as error:
        raise ValueError(f"the kernel takes no filter of system calls: {error.strerror}") from None


def _suffices(own_user: bool, files: bool, calls: bool, confined: Confined) -> None:
    """A process of the daemon's own user needs both, Landlock against reading and the filter against the rest; one
    with a user of its own needs neither, as long as it has no capability."""
    powerless = own_user and "capabilities" in confined.measures
    if not (powerless or (files and (calls or own_user))):
        missing = "; ".join(f"{name}: {why}" for name, why in confined.lacking.items())
        raise PlatformError(f"this system cannot keep a plugin from the node's keys ({missing}); {REMEDY}")
