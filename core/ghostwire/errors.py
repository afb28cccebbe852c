"""Every error GhostWire raises on purpose, typed by who must act.

    GhostwireError                     exit 1
    ├── UsageError                     exit 2   the command line: the person who typed it
    ├── ConfigError                    exit 2   ghostwire.toml: file, line and key
    ├── PolicyError                    exit 1   the policy: every finding with line and column
    ├── PluginError                    exit 3   a plugin could not be found, loaded or composed
    ├── PermissionDenied               exit 4   root, a capability or the operator's user is missing
    ├── StateError                     exit 5   the state folder: read-only, locked, newer, damaged
    ├── PlatformError                  exit 6   the operating system: no TUN, port in use, route refused
    ├── Unavailable                    exit 7   a daemon or server that does not answer; try again later
    ├── Refused                        exit 8   the other side said no, and why
    │   ├── NotFound
    │   ├── Conflict
    │   └── AuthenticationFailed
    └── ProtocolError                  exit 1
        ├── LocalProtocolError                  our own code broke the protocol's rules: a bug
        └── RemoteProtocolError                 the peer did: drop it, count it

The text of an error is one line: what, where, and what to do. Programs print it after ``error:`` and leave with
``exit_code``; no traceback reaches a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class GhostwireError(Exception):
    """The root of the tree; ``str()`` is the line a person reads."""

    exit_code = 1


class UsageError(GhostwireError):
    """A command was typed in a way that cannot be carried out."""

    exit_code = 2


class ConfigError(GhostwireError):
    """A setting is unknown, missing or of the wrong type.

    ``key`` is the dotted path of the setting; ``line`` counts from 1 and is 0 where no line is known.
    """

    exit_code = 2

    def __init__(self, message: str, *, file: str = "", line: int = 0, key: str = "") -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        what = f"{key}: " if key else ""
        super().__init__(f"{where}{what}{message}")
        self.file, self.line, self.key = file, line, key


class Finding(NamedTuple):
    """One thing that is wrong in a text, and what to do; both numbers count from 1, 0 where no place is known."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}" if self.line else self.message


class PolicyError(GhostwireError):
    """A policy is wrong; ``findings`` are all that is, in the order of the text, of which there is one at least."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"policy: {findings[0]}{more}")
        self.findings = tuple(findings)


class PluginError(GhostwireError):
    """A plugin is missing, broken, duplicated or misconfigured; ``plugin`` is its entry-point name, if it is known."""

    exit_code = 3

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(f"plugin {plugin}: {message}" if plugin else message)
        self.plugin = plugin


class PermissionDenied(GhostwireError):
    """The process or its caller lacks a right."""

    exit_code = 4


class StateError(GhostwireError):
    """Stored state cannot be used as it is."""

    exit_code = 5


class PlatformError(GhostwireError):
    """The operating system refused something the program needs."""

    exit_code = 6


class Unavailable(GhostwireError):
    """The other side does not answer now; the same call may work later."""

    exit_code = 7


class Refused(GhostwireError):
    """The other side understood and said no. ``code`` is the stable word programs compare."""

    exit_code = 8
    code = "refused"

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code


class NotFound(Refused):
    """Nothing has that name or id."""

    code = "not-found"


class Conflict(Refused):
    """The change contradicts what is stored (a name taken, an address held)."""

    code = "conflict"


class AuthenticationFailed(Refused):
    """A key, token or proof is wrong, used up, expired or somebody else's."""

    code = "authentication-failed"


class ProtocolError(GhostwireError):
    """A rule of a wire protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side broke the rules; always a bug."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules; its bytes are dropped and counted."""
