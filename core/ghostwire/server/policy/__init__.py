"""Who sees whom where no policy engine is at work: one label that all carry, and one rule from it to itself."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire.model import LabelSet, Rule

EVERYONE = 0
"""The label that all nodes carry."""


class OpenPolicy:
    """Every node sees every other, and everything is let in."""

    warning = "no policy engine is selected: every node may reach every other on every port"
    rules: Sequence[Rule] = (
        Rule(id=1, sources=(EVERYONE,), destinations=(EVERYONE,), destination_prefixes=("0.0.0.0/0", "::/0")),
    )
    sets: Sequence[LabelSet] = (LabelSet(id=EVERYONE, everyone=True),)
    labels: Sequence[int] = (EVERYONE,)
