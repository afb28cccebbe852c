"""`ghostwire plugins new`: writes a distribution whose tests pass, to be made into a plugin of one's own."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

import click

from ghostwire.cli.scaffold.files import files
from ghostwire.cli.scaffold.kinds import KINDS
from ghostwire.errors import PermissionDenied, StateError, UsageError
from ghostwire.plugins import loader

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 40


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(sorted(KINDS)), default="transport", show_default=True, help="What it does.")
@click.option(
    "--directory", type=click.Path(path_type=Path), metavar="D", help="The folder to make (default: ghostwire-NAME)."
)
def new(name: str, kind: str, directory: Path | None) -> None:
    """Write a new plugin NAME: a distribution of its own, with tests that pass."""
    _check(name)
    folder = directory or Path(f"ghostwire-{name.replace('_', '-')}")
    write(folder, name, kind)
    click.echo(f"{folder}: a {kind} to begin with. Next:\n")
    click.echo(f"  cd {quote(str(folder))}")
    click.echo("  pip install -e '.[dev]'   # in GhostWire's own environment")
    click.echo("  pytest")
    click.echo(f"  ghostwire --plugin {name} plugins")


def write(folder: Path, name: str, kind: str) -> None:
    """Write all files into a new folder; StateError where it exists, PermissionDenied where nobody may."""
    try:
        folder.mkdir(parents=True)
        for path, text in files(name, kind).items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    except FileExistsError:
        raise StateError(f"{folder}: is there already; choose another name, or --directory") from None
    except PermissionError:
        raise PermissionDenied(f"{folder}: cannot make this folder; choose another with --directory") from None
    except OSError as error:
        raise StateError(f"{folder}: cannot make this folder: {error.strerror}") from None


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"{name[:60]!r} cannot be a plugin's name: lower-case letters and digits, in words joined by _, "
            f"{LONGEST} characters at most{_perhaps(name)}"
        )
    if name in loader.installed() or find_spec(f"ghostwire_{name}") is not None:
        raise UsageError(f"a plugin {name} is installed already; choose another name")


def _perhaps(name: str) -> str:
    """What was meant by the name of a distribution, say."""
    near = re.sub(r"[^a-z0-9]+", "_", name.lower().removeprefix("ghostwire-")).strip("_")
    return f"; {near!r} would be one" if _NAME.fullmatch(near) and len(near) <= LONGEST else ""
