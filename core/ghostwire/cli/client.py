"""`ghostwire client`: the node daemon in the foreground."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click
import msgspec

from ghostwire.cli.options import given
from ghostwire.cli.tokens import given_token, token_file_option

if TYPE_CHECKING:
    from ghostwire.cli.program import Program
    from ghostwire.config import Config


@click.command()
@token_file_option
@click.option("--interface", metavar="NAME", help="The device's name (default: gw0).")
@click.option("--port", type=click.IntRange(0, 65535), help="The UDP port (default: 41641; 0 is any).")
@click.option("--hostname", metavar="NAME", help="The name to ask for in the mesh.")
@click.option("--operator", metavar="USER", help="Who may use gwctl besides root.")
@click.option("--cleanup", is_flag=True, help="Remove what a killed node left on this machine, and end.")
@click.pass_obj
def client(
    program: Program,
    token_file: IO[str] | None,
    interface: str | None,
    port: int | None,
    hostname: str | None,
    operator: str | None,
    cleanup: bool,
) -> None:
    """Run the node daemon until it is interrupted.

    A join token, from --token-file or the environment variable GHOSTWIRE_JOIN_TOKEN, joins a mesh. Without one a node
    that was up comes up again, and another waits for `gwctl up`.
    """
    from ghostwire.cli.program import log_to_stderr
    from ghostwire.node.daemon import Order, clean_up, run_forever

    log_to_stderr()
    if cleanup:
        removed = clean_up(program.host("node"), program.config, program.folders)
        click.echo("\n".join(removed) or "nothing to remove")
        return
    token = given_token(token_file)
    program.config = _with(program.config, port, interface=interface, operator=operator)
    run_forever(program.host("node"), program.config, program.folders, Order(token, hostname, click.echo))


def _with(config: Config, port: int | None, **options: str | None) -> Config:
    """The configuration with the command line's options in it; UsageError where one is wrong."""
    from ghostwire.node.daemon import UDP_PLUGIN

    node = msgspec.structs.replace(config.node, **given("node", **options))
    if port is None:
        return msgspec.structs.replace(config, node=node)
    udp = {**config.plugin.get(UDP_PLUGIN, {}), "port": port}
    return msgspec.structs.replace(config, node=node, plugin={**config.plugin, UDP_PLUGIN: udp})
