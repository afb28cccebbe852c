"""How the line of an error is worded: as one line, and with what may have been meant."""

from __future__ import annotations

from collections.abc import Iterable


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
