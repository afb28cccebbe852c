"""The policies of docs/policy.md are right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostwire_policy_acl.engine import SECTIONS
from ghostwire_policy_acl.names import AUTOGROUPS
from ghostwire_policy_acl.ports import PROTOCOLS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "policy.md").read_text("utf-8")
README = (Path(__file__).parent.parent.parent / "plugins" / "policy_acl" / "README.md").read_text("utf-8")
POLICIES = re.findall(r"```hujson\n(.*?)```", PAGE, re.DOTALL) + re.findall(r"^\{\n.*?^\}", README, re.M | re.S)


@pytest.mark.parametrize("number", range(4))
def test_every_example_compiles_without_a_warning(number: int, compile_policy: Callable[[Any], Any]) -> None:
    assert not compile_policy(POLICIES[number]).warnings


def test_there_are_as_many_examples() -> None:
    assert len(POLICIES) == 4


@pytest.mark.parametrize("word", [*SECTIONS, *AUTOGROUPS, *PROTOCOLS])
def test_every_word_of_the_language_is_on_the_page(word: str) -> None:
    if word.startswith("autogroup:"):
        word = word.partition(":")[2]
    assert re.search(rf"\b{re.escape(word)}\b", PAGE)
