"""Policies and what is wrong with them, on the command line: read from files, compared, and shown."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple, NoReturn

import click

from ghostwire.cli.tables import plain, print_json
from ghostwire.errors import Finding, UsageError

MAX_POLICY = 4 << 20
"""Bytes of a policy."""
WRONG = 1
"""Exit code where something is wrong with a policy, or it says no."""
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}

policy_argument = click.argument("file", type=click.File("rb"), metavar="FILE")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class Text(NamedTuple):
    """A policy as written, under the name by which people know where it is."""

    name: str
    source: str


def read(file: IO[bytes]) -> Text:
    """A policy from a file or, for ``-``, from stdin, as it is to the byte; UsageError where it can't be one."""
    name = getattr(file, "name", "<stdin>")
    name = name if isinstance(name, str) else "<stdin>"
    data = file.read(MAX_POLICY + 1)
    if len(data) > MAX_POLICY:
        raise UsageError(f"{name}: a policy has at most {MAX_POLICY >> 20} MiB")
    try:
        return Text(name, data.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 at byte {error.start + 1}") from None


def write(source: str) -> None:
    """Print a policy as it is, to the byte."""
    click.echo(source.encode(), nl=False)


def confirm(question: str, yes: bool) -> None:
    """Ask, unless ``--yes`` was said; UsageError where nobody is there to answer."""
    if yes:
        return
    if not at_terminal():
        raise UsageError("nobody is here to confirm it: say --yes")
    click.confirm(question, abort=True)


def at_terminal() -> bool:
    """Whether a person can answer."""
    return sys.stdin.isatty()


def diff(old: Text, new: Text) -> Iterator[str]:
    """A unified diff, line by line without their ends."""
    before, after = old.source.splitlines(keepends=True), new.source.splitlines(keepends=True)
    for line in difflib.unified_diff(before, after, old.name, new.name):
        yield line.rstrip("\n")
        if not line.endswith("\n"):
            yield "\\ no newline at the end"


def print_diff(lines: Iterable[str], *, err: bool = False) -> None:
    """Print a diff, in colours for people."""
    for line in lines:
        click.secho(plain(line), fg=_COLOURS.get(line[:1]), err=err)


def print_findings(name: str, findings: Iterable[Finding], kind: str = "", *, err: bool = False) -> None:
    """One line each: ``FILE:LINE:COLUMN: message``."""
    for line, column, message in findings:
        place = f"{name}:{line}:{column}" if line else name
        click.echo(plain(f"{place}: {kind}{message}"), err=err)


def as_objects(findings: Iterable[Finding]) -> list[dict[str, object]]:
    """Findings for programs."""
    return [finding._asdict() for finding in findings]


def refuse(name: str, findings: Iterable[Finding], json_: bool) -> NoReturn:
    """Show what keeps a policy from being accepted, and end."""
    if json_:
        print_json({"errors": as_objects(findings)})
    else:
        print_findings(name, findings, err=True)
    click.get_current_context().exit(WRONG)
