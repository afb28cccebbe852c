"""`ghostwire relay`: a relay in the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from ghostwire import Siblings
from ghostwire.cli.options import over
from ghostwire.cli.program import Program, log_to_stderr
from ghostwire.cli.tokens import given_token, token_file_option
from ghostwire.errors import UsageError


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Listen here instead of 0.0.0.0:3478.")
@click.option("--no-tls", is_flag=True, help="Plain HTTP, for instance behind a proxy; what is relayed stays sealed.")
@click.option("--open", "open_", is_flag=True, help="Serve whoever comes, without a mesh or a server.")
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="So many processes share the port (usual: 1).")
@token_file_option
@click.option(
    "--mesh-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key shared with other relays, 64 hex digits, in place of the server's.",
)
@click.option(
    "--mesh-with",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Another relay of the same region that has this key; repeatable. http://HOST for one without TLS, "
    "HOST#SHA256 for one whose certificate has that hash.",
)
@click.pass_obj
def relay(
    program: Program,
    listen: str | None,
    no_tls: bool,
    open_: bool,
    workers: int | None,
    token_file: IO[str] | None,
    mesh_key_file: Path | None,
    mesh_with: Sequence[str],
) -> None:
    """Run a relay until it is stopped.

    A relay serves the nodes of one mesh. It enrols once, with the token of `gwctl relays create` on the server, from
    --token-file or the environment variable GHOSTWIRE_JOIN_TOKEN; afterwards it needs none.
    """
    from ghostwire.relay.program import Order, run_forever

    log_to_stderr()
    siblings = _siblings(mesh_key_file, mesh_with)
    order = Order(given_token(token_file), program.named, siblings, click.echo)
    tls = False if no_tls else None
    program.config = over(program.config, "relay", listen=listen, tls=tls, open=open_ or None, workers=workers)
    run_forever(program.selection, program.folders, order)


def _siblings(key_file: Path | None, mesh_with: Sequence[str]) -> Siblings:
    from ghostwire_derp.mesh.options import parse_sibling, read_mesh_key

    if mesh_with and key_file is None:
        raise UsageError("--mesh-with needs the key that the relays share: --mesh-key-file FILE")
    relays = tuple(parse_sibling(text, number) for number, text in enumerate(mesh_with, 1))
    return Siblings(relays, read_mesh_key(key_file) if key_file is not None else b"")
