"""A node's word about its routes, and what it comes to: prefixes that may be routed, and what was refused of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ghostwire.server.routes.rules import Rules
from ghostwire.wire.messages import MAX_ROUTES, Report
from ghostwire.wire.prefixes import DEFAULTS, MAX_TEXT, Prefix, parse_prefix

HALF_AN_EXIT: Final = "an exit node offers both 0.0.0.0/0 and ::/0, for else half of the traffic would go elsewhere"


class Word(msgspec.Struct, frozen=True):
    """As it was reported."""

    routes: tuple[str, ...] = ()
    down: tuple[str, ...] = ()

    @classmethod
    def of(cls, report: Report) -> Word:
        """No more of it than is looked at."""
        return cls(report.routes[: MAX_ROUTES + 1], report.down[:MAX_ROUTES])


NOTHING: Final = Word()
"""What most nodes say."""


class Offer(msgspec.Struct, frozen=True):
    """``prefixes`` that the node can pass packets on to, those in ``down`` not at present; ``refused`` is what else it
    named, each with the reason."""

    prefixes: tuple[Prefix, ...] = ()
    down: frozenset[str] = frozenset()
    refused: Mapping[str, str] = {}


def read(word: Word, rules: Rules) -> Offer:
    """What a node's word comes to by these rules."""
    taken: dict[Prefix, str] = {}
    refused: dict[str, str] = {}
    for text in word.routes[:MAX_ROUTES]:
        prefix, reason = _prefix(text, rules)
        if prefix is None:
            refused[_plain(text)] = reason
        else:
            taken[prefix] = str(prefix)
    if sum(each in taken for each in DEFAULTS) == 1:
        half = next(each for each in DEFAULTS if each in taken)
        refused[taken.pop(half)] = HALF_AN_EXIT
    if len(word.routes) > MAX_ROUTES:
        refused[_plain(word.routes[MAX_ROUTES])] = f"a node may offer {MAX_ROUTES} routes, no more"
    named = {_prefix(text, rules)[0] for text in word.down}
    return Offer(tuple(taken), frozenset(text for prefix, text in taken.items() if prefix in named), refused)


def _prefix(text: str, rules: Rules) -> tuple[Prefix | None, str]:
    """The prefix, or why it is not taken."""
    try:
        prefix = parse_prefix(text)
    except ValueError as error:
        return None, str(error)
    reason = rules.refusal(prefix)
    return (None, reason) if reason else (prefix, "")


def _plain(text: str) -> str:
    """For logs and terminals: a hostile node may have written it."""
    return ascii(text[:MAX_TEXT])[1:-1]
