"""JSON with comments and trailing commas, each value with its place in the text.

The format is RFC 8259 with ``//`` and ``/* */`` comments between tokens and a comma allowed after the last member of an
array or object. Text is hostile: size and depth are bounded, and a syntax error is one finding at its place.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from ghostwire.errors import Finding, PolicyError

MAX_SIZE = 4 << 20
"""Characters of a text."""
MAX_DEPTH = 64
MAX_VALUES = 500_000
"""Values in a text; each costs some 200 bytes of memory, however few characters it has."""
MAX_NUMBER = 400
"""Characters of one number."""

Data: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Member] | None"

_TOKEN = re.compile(
    r"""(?:[ \t\n\r]++|//[^\n]*+|/\*(?s:.*?)\*/)*+
    (?:([{}\[\]:,])
      |("(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")
      |(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)(?![0-9A-Za-z.+_-])
      |(true|false|null)(?![0-9A-Za-z_])
      |(\Z))""",
    re.VERBOSE,
)
_SPACE = re.compile(r"(?:[ \t\n\r]++|//[^\n]*+|/\*(?s:.*?)\*/)*+")
_STRING, _NUMBER, _WORD = 2, 3, 4
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Value(NamedTuple):
    """A value, and where in the text it begins and ends (character offsets)."""

    data: Data
    start: int
    end: int

    def plain(self) -> Any:
        """The same without places, as `json.loads` would give it."""
        if isinstance(self.data, list):
            return [each.plain() for each in self.data]
        if isinstance(self.data, dict):
            return {key: member.value.plain() for key, member in self.data.items()}
        return self.data


class Member(NamedTuple):
    """A member of an object: where its key begins and ends, and its value."""

    start: int
    end: int
    value: Value


class Document:
    """A text and its value. ``duplicates`` are (key, offset) of keys that their object has already."""

    def __init__(self, text: str, root: Value, duplicates: list[tuple[str, int]]) -> None:
        self.text, self.root, self.duplicates = text, root, duplicates

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """The line and column of an offset, both from 1; columns are characters."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1


def parse(text: str) -> Document:
    """Read a text; PolicyError with one finding where it is none of the format."""
    if len(text) > MAX_SIZE:
        raise PolicyError([Finding(0, 0, f"the text has {len(text)} characters; at most {MAX_SIZE} are read")])
    parser = _Parser(text)
    try:
        root = parser.value(parser.next(), 0)
        if parser.next() is not None:
            raise _Wrong("there is more text after the policy's end", parser.start)
    except _Wrong as wrong:
        place = Document(text, Value(None, 0, 0), []).place(wrong.offset)
        raise PolicyError([Finding(*place, wrong.message)]) from None
    return Document(text, root, parser.duplicates)


class _Wrong(Exception):
    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message, self.offset = message, offset


class _Parser:
    """Recursive descent over tokens; ``start`` and ``end`` are the last lexeme's, ``kind`` is its group above."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._match: Callable[[str, int], re.Match[str] | None] = _TOKEN.match
        self.start = self.end = self.kind = self._values = 0
        self.duplicates: list[tuple[str, int]] = []

    def next(self) -> str | None:
        """The next lexeme; None at the end of the text."""
        found = self._match(self._text, self.end)
        if found is None:
            raise self._unexpected()
        kind = found.lastindex or 0
        self.kind = kind
        self.start, self.end = found.span(kind)
        return found[kind] or None

    def value(self, lexeme: str | None, depth: int) -> Value:
        """The value that begins with this lexeme."""
        start, kind = self.start, self.kind
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Wrong(f"there are more than {MAX_VALUES} values", start)
        if kind == _STRING:
            return Value(self._string(lexeme or ""), start, self.end)
        if kind == _NUMBER:
            return Value(self._number(lexeme or ""), start, self.end)
        if kind == _WORD:
            return Value(_WORDS[lexeme or ""], start, self.end)
        if depth >= MAX_DEPTH:
            raise _Wrong(f"values are nested deeper than {MAX_DEPTH}", start)
        if lexeme == "{":
            return Value(self._object(depth + 1), start, self.end)
        if lexeme == "[":
            return Value(self._array(depth + 1), start, self.end)
        raise self._missing("a value", lexeme)

    def _array(self, depth: int) -> list[Value]:
        items: list[Value] = []
        opened, lexeme = self.start, self.next()
        while lexeme != "]":
            items.append(self.value(lexeme, depth))
            lexeme = self._after_item("]", "array", opened)
        return items

    def _object(self, depth: int) -> dict[str, Member]:
        members: dict[str, Member] = {}
        opened, lexeme = self.start, self.next()
        while lexeme != "}":
            if self.kind != _STRING or lexeme is None:
                raise self._missing('a key in "quotes"', lexeme)
            key, start, end = self._string(lexeme), self.start, self.end
            if self.next() != ":":
                raise _Wrong("a colon is missing after this key", start)
            member = Member(start, end, self.value(self.next(), depth))
            if key in members:
                self.duplicates.append((key, start))
            else:
                members[key] = member
            lexeme = self._after_item("}", "object", opened)
        return members

    def _after_item(self, closing: str, what: str, opened: int) -> str | None:
        """The lexeme after an item and its comma; or the closing one."""
        lexeme = self.next()
        if lexeme == ",":
            return self.next()
        if lexeme == closing:
            return lexeme
        if lexeme is None:
            raise _Wrong(f"this {what} is never closed", opened)
        raise _Wrong(f"a comma or {closing!r} is missing before this", self.start)

    def _string(self, lexeme: str) -> str:
        text: str = json.loads(lexeme) if "\\" in lexeme else lexeme[1:-1]
        if not text.isascii() and _SURROGATE.search(text):
            raise _Wrong("this text has half of a character (a lone surrogate)", self.start)
        return text

    def _number(self, lexeme: str) -> int | float:
        if len(lexeme) > MAX_NUMBER:
            raise _Wrong("this number is too long", self.start)
        number: int | float = json.loads(lexeme)
        if number in (float("inf"), float("-inf")):
            raise _Wrong("this number is too large", self.start)
        return number

    def _missing(self, what: str, lexeme: str | None) -> _Wrong:
        if lexeme is None:
            return _Wrong(f"the text ends where {what} is missing", self.start)
        return _Wrong(f"{what} is missing before {lexeme[:20]}", self.start)

    def _unexpected(self) -> _Wrong:
        """What stands where no lexeme begins."""
        space = _SPACE.match(self._text, self.end)
        at = space.end() if space else self.end
        if self._text.startswith("/*", at):
            return _Wrong("this comment is never closed", at)
        character = self._text[at : at + 1]
        if character == '"':
            return _Wrong("this text is never closed, or has a character or escape that JSON does not allow", at)
        if character == "'":
            return _Wrong('texts stand in "double quotes"', at)
        shown = character if character.isprintable() else f"U+{ord(character):04X}"
        return _Wrong(f"{shown} is not expected here: neither a value nor a mark of the format", at)
