"""Reads the XML of routers with expat: texts alone, no document type and so no entities, bounded in size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from ghostwire.errors import RemoteProtocolError

LONGEST = 64 * 1024
DEEPEST = 32
MOST = 2000
"""Elements of one document."""

Leaf = tuple[tuple[str, ...], str]
"""The names of the elements around a text, outermost first and without prefixes, with the text's own last."""


def leaves(document: bytes) -> list[Leaf]:
    """Every element's text in order of their ends, and where it stands; RemoteProtocolError for what is not so."""
    if len(document) > LONGEST:
        raise RemoteProtocolError(f"an XML document of more than {LONGEST} bytes")
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise RemoteProtocolError(f"no XML: {error}") from None
    return reader.found


def text_of(document: list[Leaf], name: str) -> str:
    """The text of the first element of that name; empty where there is none."""
    return next((text for path, text in document if path[-1] == name), "")


class _Reader:
    def __init__(self) -> None:
        self.found: list[Leaf] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self._path: list[str] = []
        self._texts: list[list[str]] = []

    def _start(self, name: str, attributes: object) -> None:
        if len(self._path) >= DEEPEST or len(self.found) + len(self._path) >= MOST:
            raise RemoteProtocolError("an XML document with too many elements")
        self._path.append(name.rpartition(":")[2])
        self._texts.append([])

    def _end(self, name: str) -> None:
        self.found.append((tuple(self._path), "".join(self._texts.pop()).strip()))
        self._path.pop()

    def _text(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)

    def _refuse(self, *_: object) -> NoReturn:
        raise RemoteProtocolError("an XML document with a document type")


def escaped(text: str) -> Iterator[str]:
    """The characters of a text, safe between tags."""
    return (f"&#{ord(each)};" if each in "<>&\"'" else each for each in text)
