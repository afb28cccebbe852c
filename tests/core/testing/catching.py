"""Runs one rule of a contract on something that may break it."""

from typing import Any

from ghostwire.testing.contracts import Contract


def failure(contract: type[Contract], kind: Any, rule_name: str) -> str:
    """Why the rule fails where the contract's ``make`` makes this kind; empty where it does not."""
    judge: Any = contract()
    judge.kind = kind
    try:
        getattr(judge, f"test_{rule_name}")()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""
