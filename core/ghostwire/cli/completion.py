"""Shell completion: click's script for gwctl, and the names that only the daemons know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ghostwire.cli.api_client import Api, NodeApi, ServerApi
from ghostwire.errors import GhostwireError
from ghostwire.folders import Folders

Complete = Callable[[click.Context, click.Parameter, str], list[str]]
PATIENCE = 1.0  # seconds a person who pressed TAB waits at most


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes gwctl's commands and names, for instance:

    \b
        gwctl completion bash > /etc/bash_completion.d/gwctl
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "gwctl", "_GWCTL_COMPLETE").source())


def names_from(api: Callable[[Folders], Api], path: str, key: str) -> Complete:
    """Completes the ``name`` of each object in that answer's list; nothing where the API does not answer."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        client = api(_folders(context))
        client.timeout = PATIENCE
        try:
            records = client.all(path, key).get(key, ())
        except GhostwireError:
            return []
        return [record["name"] for record in records if record["name"].startswith(incomplete)]

    return complete


peers = names_from(NodeApi, "/v1/status", "peers")
nodes = names_from(ServerApi, "/api/v1/nodes", "nodes")
users = names_from(ServerApi, "/api/v1/users", "users")
relays = names_from(ServerApi, "/api/v1/relays", "relays")


def _folders(context: click.Context) -> Folders:
    """While completing, click parses the command line without running the group that makes the program."""
    state = context.find_root().params.get("state")
    return Folders(Path(state) if state else None, client=True)
