"""Where a join token comes from."""

import io
import json
import os

import click
import pytest
from click.testing import CliRunner

from ghostwire.cli.tokens import MAX_TEXT, VARIABLE, given_token, token_file_option
from ghostwire.node.exchange import MAX_BODY


def test_a_token_from_the_environment_is_not_inherited_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " gwjoin-x\n")
    assert given_token(None) == "gwjoin-x"
    assert VARIABLE not in os.environ
    assert given_token(None) is None


def test_a_file_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gwjoin-environment")
    assert given_token(io.StringIO("gwjoin-file\n")) == "gwjoin-file"
    assert VARIABLE not in os.environ


def test_a_file_of_anything_is_read_in_part_and_fits_a_request() -> None:
    read: list[str | None] = []
    command = click.command()(token_file_option(lambda token_file: read.append(given_token(token_file))))
    for filling in (b"\0", b"\xff", b"x"):
        result = CliRunner().invoke(command, ["--token-file", "-"], input=filling * 1_000_000)
        assert result.exception is None
    assert [len(token or "") for token in read] == [MAX_TEXT] * 3
    assert max(len(json.dumps(token)) for token in read) < MAX_BODY
