"""Which of a policy's names mean a node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ghostwire import Bearer, Person
from ghostwire.capabilities.policy import Prefix
from ghostwire_policy_acl import names
from ghostwire_policy_acl.names import Alias, Kind
from ghostwire_policy_acl.people import People
from ghostwire_policy_acl.prefixes import PrefixIndex

MAX_REMEMBERED = 100_000
"""Persons whose answer is kept."""


class Directory:
    """What names are defined as: groups' members, and literal names' prefixes; ``domains`` says who vouches for which
    domain."""

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        prefixes: Callable[[Alias], Sequence[Prefix]],
        domains: Mapping[str, str],
    ) -> None:
        self.prefixes, self.domains = prefixes, domains
        self._groups: dict[str, list[str]] = defaultdict(list)
        for group, members in groups.items():
            for member in members:
                self._groups[member].append(group)
        self._people = People(self._groups, domains)
        self._persons: dict[Person, Sequence[str]] = {}

    def groups(self, person: Person) -> Sequence[str]:
        """The groups that a user is in."""
        found = self._persons.get(person)
        if found is None:
            if len(self._persons) >= MAX_REMEMBERED:
                self._persons.clear()
            words = self._people.words(person)
            found = tuple(dict.fromkeys(group for word in words for group in self._groups[word]))
            self._persons[person] = found
        return found


class Matcher:
    """Answers for a set of names; every answer has each name once."""

    def __init__(self, aliases: Iterable[Alias], directory: Directory) -> None:
        held = tuple(dict.fromkeys(aliases))
        self._directory, self._texts = directory, frozenset(alias.text for alias in held)
        self._people = People((alias.text for alias in held if alias.kind is Kind.USER), directory.domains)
        self.prefixes = PrefixIndex(prefix for alias in held for prefix in directory.prefixes(alias))
        self._persons: dict[Person, Sequence[str]] = {}

    def identity(self, node: Bearer) -> list[str]:
        """The names that mean the node for what it is: everyone, its tags, or its owner and his groups."""
        found = ["*"] if "*" in self._texts else []
        if node.tags:
            found += [tag for tag in dict.fromkeys((names.TAGGED, *node.tags)) if tag in self._texts]
            return found
        if names.MEMBER in self._texts:
            found.append(names.MEMBER)
        found += self.person(node.owner)
        return found

    def person(self, person: Person) -> Sequence[str]:
        """The names that mean a user: his own, and his groups'."""
        found = self._persons.get(person)
        if found is None:
            if len(self._persons) >= MAX_REMEMBERED:
                self._persons.clear()
            groups = (group for group in self._directory.groups(person) if group in self._texts)
            found = self._persons[person] = (*self._people.words(person), *groups)
        return found

    def addresses(self, node: Bearer) -> list[str]:
        """The prefixes that hold one of its addresses."""
        return [text for address in node.addresses for text in self.prefixes.of_address(address)]

    def means(self, node: Bearer) -> bool:
        """Whether any of the names means this node."""
        return bool(self.identity(node) or self.addresses(node))
