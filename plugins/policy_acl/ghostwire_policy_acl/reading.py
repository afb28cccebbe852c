"""Reads typed values out of a document, and collects all that is wrong with it on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ghostwire.errors import Finding
from ghostwire_policy_acl.hujson import Document, Member, Value
from ghostwire_policy_acl.wording import shown

MAX_FINDINGS = 1000
"""Of more than these it is only said how many there are."""
MAX_HELD = 20 * MAX_FINDINGS
"""Of more than these it is not looked which come first in the text."""
MAX_NAMES = 1_000_000
"""Names, prefixes and ports that all rules and sets come to, each counted wherever it stands."""
MAX_GUESSES = 50
"""For how many unknown words something similar is looked for."""


class Notes:
    """What was found, as offsets and messages: a bounded number of them, and how many there were."""

    def __init__(self) -> None:
        self._held: list[tuple[int, str]] = []
        self._count = 0

    def add(self, offset: int, message: str) -> None:
        """One more."""
        self._count += 1
        if len(self._held) < MAX_HELD:
            self._held.append((offset, message))

    def findings(self, document: Document) -> Sequence[Finding]:
        """In the order of the text."""
        ordered = sorted(self._held, key=lambda each: each[0])[:MAX_FINDINGS]
        findings = [Finding(*document.place(offset), message) for offset, message in ordered]
        if self._count > len(findings):
            findings.append(Finding(0, 0, f"there are {self._count - len(findings)} more"))
        return findings


class Reader:
    """Methods that expect a type note what else they find as an error, and give an empty value for it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._errors, self._warnings = Notes(), Notes()
        self._guesses = self._names = 0
        for key, offset in document.duplicates:
            self.wrong(offset, f"the key {shown(key)} is there twice in this object")

    def wrong(self, offset: int, message: str) -> None:
        """An error at this place."""
        self._errors.add(offset, message)

    def warn(self, offset: int, message: str) -> None:
        """Something that whoever saves the policy should know."""
        self._warnings.add(offset, message)

    def unknown(self, offset: int, what: str, word: str, known: Iterable[str], hint: str = "") -> None:
        """A name that stands for nothing, with what may have been meant; the ``hint`` where that can't be guessed."""
        self.wrong(offset, f"unknown {what} {shown(word)}{self._guess(word, known) or hint}")

    def affords(self, offset: int, names: int) -> bool:
        """Whether the policy may come to so many names more; once it may not, that is an error."""
        before, self._names = self._names, self._names + names
        if before <= MAX_NAMES < self._names:
            self.wrong(
                offset, f"up to here, all rules and sets come to more than {MAX_NAMES} names, prefixes and ports"
            )
        return self._names <= MAX_NAMES

    @property
    def errors(self) -> Sequence[Finding]:
        """All that is wrong, in the order of the text."""
        return self._errors.findings(self.document)

    @property
    def warnings(self) -> Sequence[Finding]:
        """All that is doubtful, in the order of the text."""
        return self._warnings.findings(self.document)

    def members(self, value: Value | None, what: str, known: Iterable[str] | None = None) -> dict[str, Member]:
        """An object's members; keys that are not among the ``known`` are errors, null and None are empty."""
        if value is None or value.data is None:
            return {}
        if not isinstance(value.data, dict):
            self._expected(value, f"{what} must be an object: {{ ... }}")
            return {}
        if known is not None:
            names = frozenset(known)
            for key, member in value.data.items():
                if key not in names:
                    self.unknown(member.start, f"key in {what}:", key, names)
        return value.data

    def items(self, value: Value | None, what: str) -> list[Value]:
        """An array's items; null and None are empty."""
        if value is None or value.data is None:
            return []
        if not isinstance(value.data, list):
            self._expected(value, f"{what} must be an array: [ ... ]")
            return []
        return value.data

    def text(self, value: Value, what: str) -> str:
        """A text, without space around it; never empty unless it is an error."""
        if not isinstance(value.data, str):
            self._expected(value, f'{what} must be a text: "..."')
            return ""
        text = value.data.strip()
        if not text:
            self.wrong(value.start, f"{what} is empty")
        return text

    def texts(self, value: Value | None, what: str) -> list[tuple[str, int]]:
        """An array's texts, each with its place."""
        each = f"each item of {what}"
        found = [(self.text(item, each), item.start) for item in self.items(value, what)]
        return [pair for pair in found if pair[0]]

    def _expected(self, value: Value, message: str) -> None:
        self.wrong(value.start, message)

    def _guess(self, word: str, known: Iterable[str]) -> str:
        self._guesses += 1
        if self._guesses > MAX_GUESSES or len(word) > 200:
            return ""
        head, colon, rest = word.rpartition(":")
        kind = head + colon
        words = {each.removeprefix(kind): each for each in sorted(known) if each.startswith(kind)}
        close = get_close_matches(rest, words, n=1, cutoff=0.6)
        if close:
            return f"; did you mean {shown(words[close[0]])}?"
        return f"; there is {', '.join(words.values())}" if 0 < len(words) <= 20 else ""
