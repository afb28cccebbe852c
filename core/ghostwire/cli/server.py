"""`ghostwire server`: the coordination server in the foreground."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from ghostwire.cli.options import over, storage_url
from ghostwire.cli.program import Program, log_to_stderr
from ghostwire.system import loop

if TYPE_CHECKING:
    from ghostwire.config import Config
    from ghostwire.server.server import Server

SWITCH_INTERVAL = 0.0005
"""Seconds the loop may keep the interpreter from the storage's thread, which needs it after each call of the database:
with Python's own 5 ms a busy loop would stretch every commit."""
OLDEST = 2
"""The collector's generation of objects that live long."""
THRESHOLDS = (700, 10, 2)
"""It looks at all of them after a fifth of what Python waits for: what it finds alive is soon seen, and frozen.
With more at once, a look holds up the loop for tens of milliseconds."""


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Listen here instead of 0.0.0.0:8080.")
@click.option("--url", metavar="URL", help="What join tokens say: where nodes find this server.")
@click.option("--no-tls", is_flag=True, help="Plain HTTP, for instance behind a proxy; control sessions stay sealed.")
@click.option("--storage", metavar="URL", help="Keep everything there: postgresql://USER@HOST/NAME, sqlite:////FILE.")
@click.pass_obj
def server(program: Program, listen: str | None, url: str | None, no_tls: bool, storage: str | None) -> None:
    """Run the coordination server until it is stopped."""
    from ghostwire.server.server import Server

    log_to_stderr()
    config = configured(program.config, listen, url, no_tls)
    if storage is not None:
        config = config.stored_at(storage_url(storage))
    _warn_of_readers(config)
    program.config = config  # plugins are composed by it, the storage's among them
    running = Server(program.host("server"), config, program.folders)
    sys.setswitchinterval(SWITCH_INTERVAL)
    with loop.runner() as runner:
        runner.run(_serve(running, _next_step(program)))


def configured(config: Config, listen: str | None, url: str | None, no_tls: bool) -> Config:
    """The configuration with the command line's words over the file's; UsageError where they are wrong."""
    return over(config, "server", listen=listen, url=url, tls=False if no_tls else None)


def _warn_of_readers(config: Config) -> None:
    """Say so where others on this machine can read the database's password in the configuration."""
    url = str(config.plugin.get("storage_sql", {}).get("url", ""))
    if config.file and _has_password(url) and os.stat(config.file).st_mode & 0o077:
        text = "%s: has the database's password in it, and others can read it; run: chmod 600 %s"
        logging.getLogger("ghostwire").warning(text, config.file, config.file)


def _has_password(url: str) -> bool:
    """As libpq reads it, which takes signs in a password that other readers of URLs refuse."""
    user, at, _ = url.partition("://")[2].partition("@")
    return at != "" and ":" in user


async def _serve(running: Server, next_step: str) -> None:
    """Serve until a signal; the ready line goes to stdout."""
    stop = loop.stop_signal()
    await running.start()
    gc.freeze()  # records read at the start live on; the collector need not look at them again
    gc.callbacks.append(_freeze)
    gc.set_threshold(*THRESHOLDS)
    try:
        click.echo(f"ghostwire server ready at {running.url}; let a machine join: {next_step}")
        await stop.wait()
    finally:
        await running.close()


def _freeze(phase: str, about: dict[str, int]) -> None:
    """Nor at what it found alive once: ten thousand streams would take it a tenth of a second each time."""
    if phase == "stop" and about["generation"] == OLDEST:
        gc.freeze()


def _next_step(program: Program) -> str:
    given = program.folders.given
    return f"gwctl --state {given} preauthkeys create" if given else "gwctl preauthkeys create"
