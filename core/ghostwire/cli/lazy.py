"""A click group whose commands are imported when they run; its help needs nothing but a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

import click
import msgspec

from ghostwire.errors import GhostwireError
from ghostwire.hints import did_you_mean


class Entry(msgspec.Struct, frozen=True):
    """A command of the table: a one-line help, and what imports and gives the click command."""

    help: str
    load: Callable[[], click.Command]


def within(target: str, help: str) -> Entry:
    """A command of GhostWire's own, ``module:attribute``."""

    def load() -> click.Command:
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    return Entry(help, load)


class LazyGroup(click.Group):
    """Finds commands in its table, then among the plugins' (``further``), which are asked only when needed."""

    def __init__(
        self,
        name: str,
        table: Mapping[str, Entry],
        further: Callable[[click.Context], Mapping[str, Entry]],
        **settings: object,
    ) -> None:
        super().__init__(name, **settings)  # type: ignore[arg-type]
        self._table, self._further = table, further

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name: the table's in its order, then the plugins'."""
        return list(self._entries(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one command."""
        entry = self._table.get(cmd_name) or self._entries(ctx).get(cmd_name)
        return entry.load() if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, saying which command may have been meant; or what keeps the plugins' from being known."""
        if args and not args[0].startswith("-") and args[0] not in self._table:
            known = {**self._table, **self._further(ctx)}
            if args[0] not in known:
                ctx.fail(f"no such command {args[0]!r}{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their one-line helps, none of them imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries(ctx).items()])

    def _entries(self, ctx: click.Context) -> dict[str, Entry]:
        try:
            further = self._further(ctx)
        except GhostwireError as error:  # a broken plugin or file must not hide the commands that would mend it
            click.echo(f"warning: {error}", err=True)
            further = {}
        return {**self._table, **further}
