"""Where a join token comes from."""

import io
import os

import pytest

from ghostwire.cli.tokens import VARIABLE, given_token


def test_a_token_from_the_environment_is_not_inherited_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " gwjoin-x\n")
    assert given_token(None) == "gwjoin-x"
    assert VARIABLE not in os.environ
    assert given_token(None) is None


def test_a_file_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gwjoin-environment")
    assert given_token(io.StringIO("gwjoin-file\n")) == "gwjoin-file"
    assert VARIABLE not in os.environ
