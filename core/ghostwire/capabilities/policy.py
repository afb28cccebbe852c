"""A policy engine turns the operator's policy into labels on nodes and rules between labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ghostwire.model import Node, Rule, User


class CompiledPolicy(msgspec.Struct, frozen=True):
    """Rules between label ids, and the ids that stand for every node (``*``).

    `PolicyEngine.labels` gives those to each node. Rules' ids are positive and unique; the
    same policy gives the same.
    """

    rules: tuple[Rule, ...]
    everyone: frozenset[int]


class PolicyEngine(ABC):
    """Reads policies. Label ids are small integers, append-only, never reused."""

    name: str

    @abstractmethod
    def compile(self, source: str) -> CompiledPolicy:
        """Parse and compile; ConfigError with line and key where the policy is wrong: the last one stays in force."""

    @abstractmethod
    def labels(self, node: Node, owner: User) -> Sequence[int]:
        """The labels of a node under the policy compiled last, each once. A label keeps its id whatever is compiled."""
