"""Which users a policy's words for them mean."""

from __future__ import annotations

import re
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
        self._patterns: dict[str, list[tuple[re.Pattern[str], str]]] = defaultdict(list)
        for word in dict.fromkeys(words):
            self._add(word)

    def _add(self, word: str) -> None:
        local, _, domain = word.rpartition("@")
        if "*" in local:
            pattern = ".*".join(re.escape(part) for part in re.split(r"\*+", local.lower()))
            self._patterns[domain.lower()].append((re.compile(pattern, re.DOTALL), word))
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
                found += [word for pattern, word in self._patterns.get(domain, ()) if pattern.fullmatch(local)]
        return tuple(dict.fromkeys(found))
