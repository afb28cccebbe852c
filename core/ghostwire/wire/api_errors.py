"""Errors as the HTTP APIs carry them: a status, and ``{"error": {"code", "message"}}``; both directions.

A wrong policy brings its ``findings``, too, each with ``line``, ``column`` and ``message``.
"""

from __future__ import annotations

from typing import Any

from ghostwire.errors import (
    AuthenticationFailed,
    ConfigError,
    Conflict,
    Finding,
    GhostwireError,
    NotFound,
    PermissionDenied,
    PlatformError,
    PluginError,
    PolicyError,
    Refused,
    StateError,
    Unavailable,
    UsageError,
)


class TooLarge(Refused):
    """A body that is longer than any that makes sense."""

    code = "too-large"


class TooMany(Refused):
    """More requests than one may make; ``retry_after`` is in seconds."""

    code = "too-many"

    def __init__(self, message: str, retry_after: int | str = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after if isinstance(retry_after, int) else 0


MAX_FINDINGS = 1000
"""Findings that an answer holds."""

_KINDS: dict[type[GhostwireError], tuple[int, str]] = {
    UsageError: (400, "usage"),
    ConfigError: (400, "config"),
    AuthenticationFailed: (401, ""),
    PermissionDenied: (403, "permission-denied"),
    NotFound: (404, ""),
    Conflict: (409, ""),
    TooLarge: (413, ""),
    PolicyError: (422, "policy"),
    TooMany: (429, ""),
    Refused: (400, ""),
    Unavailable: (503, "unavailable"),
    PlatformError: (500, "platform"),
    PluginError: (500, "plugin"),
    StateError: (500, "state"),
    GhostwireError: (500, "failed"),
}
"""Status and code of each kind; a Refused brings its own code."""

_BY_CODE = {code: kind for kind, (_, code) in _KINDS.items() if code}
_BY_STATUS: dict[int, type[GhostwireError]] = {
    status: kind for kind, (status, _) in _KINDS.items() if status not in (400, 500)
}

Answer = tuple[int, Any]
"""Status, and what becomes JSON."""


def answer(status: int, code: str, message: str) -> Answer:
    """An error that is no exception of ours, as everybody words theirs."""
    return status, {"error": {"code": code, "message": message}}


def encode(error: GhostwireError) -> Answer:
    """An error as status and body."""
    status, code = next(_KINDS[kind] for kind in type(error).__mro__ if kind in _KINDS)
    status, body = answer(status, error.code if isinstance(error, Refused) else code, str(error))
    if isinstance(error, PolicyError):
        body["error"]["findings"] = [finding._asdict() for finding in error.findings[:MAX_FINDINGS]]
    return status, body


def decode(status: int, body: Any) -> GhostwireError:
    """The error that an answer with this status, 400 or above, stands for, whoever gave it."""
    described = body.get("error") if isinstance(body, dict) else None
    described = described if isinstance(described, dict) else {}
    code, message = str(described.get("code", "")), str(described.get("message", f"refused with status {status}"))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (GhostwireError if status >= 500 else Refused)
    if issubclass(kind, Refused):
        return kind(message, code)
    if issubclass(kind, PolicyError):
        return kind(findings_of(described.get("findings")) or [Finding(0, 0, message)])
    return _plugin_error(message) if kind is PluginError else kind(message)


def findings_of(value: Any) -> list[Finding]:
    """The findings in an answer; what is none is left out."""
    given = value if isinstance(value, list) else []
    return [
        Finding(int(each["line"]), int(each["column"]), str(each["message"]))
        for each in given
        if isinstance(each, dict) and each.keys() >= {"line", "column", "message"}
    ]


def _plugin_error(text: str) -> PluginError:
    plugin, colon, reason = text.removeprefix("plugin ").partition(": ")
    return PluginError(plugin, reason) if colon and text.startswith("plugin ") else PluginError("", text)
