"""How the line of an error is worded: as one line, and with what may have been meant."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from os.path import basename
from typing import Final

LONGEST: Final = 200
"""Characters of an exception's text that are repeated."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a known word looks like this one, else what there is, else nothing."""
    from difflib import get_close_matches

    words = sorted(set(known))
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(words)}" if words else ""


def one_line(text: object) -> str:
    """Any text as one line of at most 400 characters, none of which can drive a terminal."""
    line = " ".join("".join(each if each.isprintable() else " " for each in str(text)).split())
    return line if len(line) <= 400 else f"{line[:397]}..."


def raised(error: BaseException) -> str:
    """What foreign code raised, for its author: ``ZeroDivisionError: division by zero (kite.py:12)``.

    The place is the innermost one in the package that was called, not in a library that this used in turn.
    """
    text = one_line(error)[:LONGEST]
    return f"{type(error).__name__}{': ' if text else ''}{text}{_place(error)}"


def _place(error: BaseException) -> str:
    package, place = "", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name != "ghostwire" and name not in sys.stdlib_module_names and name == (package or name):
            package, place = name, f" ({basename(frame.f_code.co_filename)}:{line})"
    return place
