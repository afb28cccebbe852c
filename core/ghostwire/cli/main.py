"""The entry points of `ghostwire`, `ghostwire-server`, `ghostwire-client` and `gwctl`, and their tables of commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import click

from ghostwire import __version__
from ghostwire.cli.errors import guarded
from ghostwire.cli.lazy import Entry, LazyGroup, within
from ghostwire.cli.program import Program

GHOSTWIRE = {
    "server": within("ghostwire.cli.server:server", "Run the coordination server."),
    "client": within("ghostwire.cli.client:client", "Run the node daemon."),
    "demo": within("ghostwire.cli.demo:demo", "Show a whole mesh on this machine, then clean up."),
    "plugins": within("ghostwire.cli.plugins:plugins", "List the plugins: what they provide, or why they failed."),
    "config": within("ghostwire.cli.config:config", "Show or check the configuration."),
}

GWCTL = {
    "up": within("ghostwire.cli.gwctl:up", "Bring this node into the mesh."),
    "down": within("ghostwire.cli.gwctl:down", "Leave the mesh for now, or for good."),
    "status": within("ghostwire.cli.gwctl:status", "Show this node and its peers."),
    "ip": within("ghostwire.cli.gwctl:ip", "Print mesh addresses."),
    "ping": within("ghostwire.cli.gwctl_ping:ping", "Measure the way to a peer."),
    "netcheck": within("ghostwire.cli.gwctl_netcheck:netcheck", "Measure this node's network and its relays."),
    "route": within("ghostwire.cli.gwctl_route:route", "Show, offer and accept routes beyond the mesh."),
    "exit-node": within("ghostwire.cli.gwctl_exit_node:exit_node", "Choose by which node packets reach the internet."),
    "debug": within("ghostwire.cli.gwctl_debug:debug", "Explain what this node does."),
    "bugreport": within("ghostwire.cli.gwctl_bugreport:bugreport", "Collect what a bug report needs, without secrets."),
    "version": within("ghostwire.cli.gwctl:version", "Print the versions of gwctl and of the daemon."),
    "server": within("ghostwire.cli.gwctl_server:server", "Show the server, back it up, restore it, move it."),
    "nodes": within("ghostwire.cli.gwctl_admin:nodes", "List, rename, expire and delete nodes."),
    "users": within("ghostwire.cli.gwctl_admin:users", "List, make, rename and delete users."),
    "apikeys": within("ghostwire.cli.gwctl_apikeys:apikeys", "Make, list and delete API keys."),
    "relays": within("ghostwire.cli.gwctl_relays:relays", "List, make, change, drain and delete relays."),
    "routes": within("ghostwire.cli.gwctl_routes:routes", "Approve what subnet routers and exit nodes offer."),
    "completion": within(
        "ghostwire.cli.completion:completion", "Print a script that completes gwctl's words in a shell."
    ),
}

_GLOBAL = {"--config": 2, "--state": 2, "--plugin": 2, "--debug": 1, "--version": 1}


def ghostwire(args: Sequence[str] | None = None) -> int:
    """Run `ghostwire`; the exit code."""
    return _run(ghostwire_group(), args)


def ghostwire_server(args: Sequence[str] | None = None) -> int:
    """Run `ghostwire server`, its options and the global ones in any order."""
    return ghostwire(_with_command("server", args))


def ghostwire_client(args: Sequence[str] | None = None) -> int:
    """Run `ghostwire client`, its options and the global ones in any order."""
    return ghostwire(_with_command("client", args))


def gwctl(args: Sequence[str] | None = None) -> int:
    """Run `gwctl`; the exit code."""
    return _run(gwctl_group(), args)


def ghostwire_group() -> click.Group:
    """The command `ghostwire`."""
    return _group("ghostwire", "GhostWire, a mesh VPN whose every capability is a plugin.", GHOSTWIRE, client=False)


def gwctl_group() -> click.Group:
    """The command `gwctl`."""
    return _group("gwctl", "Control this machine's node, and the mesh where its server runs here.", GWCTL, client=True)


def _group(name: str, help: str, table: dict[str, Entry], *, client: bool) -> click.Group:
    def program(ctx: click.Context) -> Program:
        if ctx.obj is None:
            given = ctx.params
            ctx.obj = Program(given.get("config"), given.get("state"), given.get("plugin") or (), client=client)
        return cast(Program, ctx.obj)

    @click.pass_context
    def start(ctx: click.Context, /, debug: bool, **given: object) -> None:
        program(ctx)
        if debug:
            logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")

    def further(ctx: click.Context) -> dict[str, Entry]:
        return _plugin_commands(name, table, program(ctx))

    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    return LazyGroup(name, table, further, callback=start, params=_options(), help=help, context_settings=settings)


def _options() -> list[click.Parameter]:
    """The global options; eager ones are read before --help, which lists plugins' commands too."""
    path: Any = click.Path(path_type=Path)
    config = "Read this instead of /etc/ghostwire/ghostwire.toml."
    plugin = "Select a plugin, or leave it out; repeatable."
    return [
        click.Option(["--config"], type=path, is_eager=True, metavar="FILE", help=config),
        click.Option(["--state"], type=path, metavar="DIR", help="Keep all state and sockets here: a second instance."),
        click.Option(["--plugin"], multiple=True, is_eager=True, metavar="[-]NAME", help=plugin),
        click.Option(["--debug"], is_flag=True, help="Log everything, and show tracebacks."),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it."
        ),
    ]


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"{ctx.command_path} {__version__}")
        ctx.exit()


def _plugin_commands(program: str, table: dict[str, Entry], run: Program) -> dict[str, Entry]:
    from ghostwire.errors import PluginError

    found: dict[str, Entry] = {}
    for offer in run.host("ctl").offers("ghostwire_commands"):
        command: Any = offer.provider
        if command.program == program:
            if command.name in table:
                raise PluginError(offer.plugin, f"offers the command {offer.name!r}, which GhostWire itself has")
            found[command.name] = Entry(command.help, _loading(offer.plugin, command.load))
    return found


def _loading(plugin: str, load: Callable[[], click.Command]) -> Callable[[], click.Command]:
    """Loads a plugin's command; what goes wrong is a PluginError."""

    def load_it() -> click.Command:
        from ghostwire.errors import PluginError
        from ghostwire.hints import one_line

        try:
            return load()
        except (Exception, SystemExit) as error:
            raise PluginError(plugin, f"its command cannot be loaded: {one_line(error)}") from error

    return load_it


def _run(group: click.Group, args: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if args is None else args)
    run = partial(group.main, words, prog_name=group.name, standalone_mode=False)
    return guarded(run, debug="--debug" in words)


def _with_command(command: str, args: Sequence[str] | None) -> list[str]:
    """Global options first, then the command, then its own options."""
    words = list(sys.argv[1:] if args is None else args)
    ours: list[str] = []
    own: list[str] = []
    while words:
        count = _GLOBAL.get(words[0], 1 if words[0].partition("=")[0] in _GLOBAL else 0)
        target = ours if count else own
        target += words[: max(count, 1)]
        del words[: max(count, 1)]
    return [*ours, command, *own]
