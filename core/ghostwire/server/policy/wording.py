"""How rules are shown to people: their ports, protocols, and the place in the text that they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from ghostwire.capabilities.policy import PolicyRule

NAMES = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp"}
LISTED, MAX_LINES, MAX_EXCERPT = 6, 12, 600


def protocol_text(number: int | None) -> str:
    """A protocol by its name, or as ``protocol 89``."""
    return NAMES.get(number or 0, f"protocol {number}")


def port_text(ports: tuple[int, int]) -> str:
    """``22`` or ``8000-8999``."""
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def opened_text(protocols: Iterable[int], ports: Iterable[tuple[int, int]]) -> str:
    """``tcp, udp port 80, 443``: any where it says none."""
    every = list(dict.fromkeys(ports))
    words = [listed(map(protocol_text, protocols))]
    words += [f"port {listed(map(port_text, every))}"] if (0, 65535) not in every else []
    return " ".join(filter(None, words)) or "any port"


def listed(words: Iterable[str]) -> str:
    """The first words, in order; how many more there are."""
    every = sorted(words) if isinstance(words, frozenset) else list(words)
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more


def together(rules: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Rules as they were written: those from one place of the text are one, which opens what they open."""
    found: dict[tuple[int, int] | PolicyRule, list[PolicyRule]] = defaultdict(list)
    for rule in rules:
        found[(rule.line, rule.column) if rule.line else rule].append(rule)
    return [_merged(each) for each in found.values()]


def _merged(rules: Sequence[PolicyRule]) -> PolicyRule:
    if len(rules) == 1:
        return rules[0]
    changes: dict[str, Any] = {
        name: tuple(dict.fromkeys(each for rule in rules for each in getattr(rule, name)))
        for name in ("sources", "source_prefixes", "destinations", "destination_prefixes")
    }
    for name in ("protocols", "ports"):
        values = [getattr(rule, name) for rule in rules]
        changes[name] = tuple(dict.fromkeys(each for value in values for each in value)) if all(values) else ()
    return msgspec.structs.replace(rules[0], **changes)


def excerpt(source: str, line: int, column: int) -> str:
    """What stands there: an object to its end, where that is near; else the rest of its line."""
    lines = list(islice(source.split("\n"), line - 1, line - 1 + MAX_LINES)) if line else []
    if not lines:
        return ""
    indent = max(column - 1, 0)
    first = lines[0][indent:].rstrip()
    text = "\n".join([first, *(_outdented(each, indent) for each in lines[1:])])
    return _cut(text[: _end(text)] if first.startswith("{") else first)


def _outdented(line: str, by: int) -> str:
    return line[:by].lstrip() + line[by:].rstrip()


def _end(text: str) -> int:
    """Where the object with which the text begins ends."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return place + 1
    return len(text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 3]}..."
