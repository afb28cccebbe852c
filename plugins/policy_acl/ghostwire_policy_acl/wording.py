"""How what was written is quoted in errors."""

from __future__ import annotations

from ghostwire.hints import one_line

LONGEST = 80
"""Characters that are quoted."""


class Unreadable(ValueError):
    """A text is not of the form that it should be; the message says which it should be."""


def shown(text: str) -> str:
    """What was written, in one short line that can be printed."""
    line = one_line(text)
    return f"`{line if len(line) <= LONGEST else line[: LONGEST - 3] + '...'}`"
