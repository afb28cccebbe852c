"""Where a join token comes from: a file, stdin or the environment; never the command line, which others can read."""

from __future__ import annotations

import os
from typing import IO

import click

from ghostwire.errors import UsageError

VARIABLE = "GHOSTWIRE_JOIN_TOKEN"
MAX_TEXT = 8 * 1024
"""Characters read: more than any token has, and a request that the daemon takes whatever they are."""

token_file_option = click.option(
    "--token-file", type=click.File("r", errors="replace"), metavar="FILE", help="Read the join token here; - is stdin."
)
"""The ``--token-file`` option of every command that joins a mesh."""


def given_token(file: IO[str] | None) -> str | None:
    """The token in this file, else in the environment, which forgets it, so that no child inherits it."""
    inherited = os.environ.pop(VARIABLE, "").strip()
    if file is None:
        return inherited or None
    token = file.read(MAX_TEXT).strip()
    if not token:
        raise UsageError(f"{getattr(file, 'name', '<stdin>')}: there is no join token in it")
    return token
