"""Which users a policy's words for them mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ghostwire import Person

LOCAL = "local"
"""The issuer of users that were made on the server."""


class People:
    """Finds, for a person, which of ``words`` mean him.

    An exact word means who has that name or e-mail address; one with a ``*`` means whose verified e-mail address fits,
    in a domain for which his issuer's word counts: the one that ``domains`` binds it to, else ``local``.
    """

    def __init__(self, words: Iterable[str], domains: Mapping[str, str]) -> None:
        self._domains = {domain.lower(): issuer for domain, issuer in domains.items()}
        self._names: dict[str, list[str]] = defaultdict(list)
        self._emails: dict[str, list[str]] = defaultdict(list)
        self._patterns: dict[str, list[tuple[Sequence[str], str]]] = defaultdict(list)
        for word in dict.fromkeys(words):
            self._add(word)

    def _add(self, word: str) -> None:
        local, _, domain = word.rpartition("@")
        if "*" in local:
            self._patterns[domain.lower()].append((tuple(local.lower().split("*")), word))
        else:
            self._names[word.removesuffix("@")].append(word)
            self._emails[word.lower()].append(word)

    def words(self, person: Person) -> Sequence[str]:
        """The words that mean this person."""
        found = list(self._names.get(person.name, ())) if person.name else []
        email = person.email.lower()
        local, at, domain = email.rpartition("@")
        if local and at:
            if self._domains.get(domain, person.issuer) == person.issuer:
                found += self._emails.get(email, ())
            if self._domains.get(domain, LOCAL) == person.issuer:
                found += [word for parts, word in self._patterns.get(domain, ()) if _fits(local, parts)]
        return tuple(dict.fromkeys(found))


def _fits(text: str, parts: Sequence[str]) -> bool:
    """Whether the text consists of these parts, with anything between them; in time proportional to its length, which
    a regular expression does not promise."""
    first, last = parts[0], parts[-1]
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in parts[1:-1]:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
