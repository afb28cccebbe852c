"""The policy's versions on the command line: listed, shown, compared, brought back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import ServerApi
from ghostwire.cli.tables import age, as_json, print_json, print_table, size
from ghostwire.errors import PolicyError
from ghostwire_policy_acl import command_texts as texts
from ghostwire_policy_acl.command_texts import Text, yes_option

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

PATH = "/api/v1/policy"

version_argument = click.argument("version", type=click.IntRange(min=1))


@click.command("history", short_help="List the policy's versions.")
@as_json
@click.pass_obj
def history(program: Program, json_: bool) -> None:
    """List the policy's versions, the newest first."""
    found = ServerApi(program.folders).get(f"{PATH}/history")
    if json_:
        print_json(found)
        return
    columns = ("version", "stored", "by", "size", "note")
    print_table(columns, map(_row, found["versions"]), empty="no policy was ever stored; see: gwctl policy set")


def _row(version: Mapping[str, Any]) -> Sequence[str]:
    when, many = age(version["created"]), size(version["size"])
    return (str(version["version"]), when, version["author"] or "-", many, version["note"] or "-")


@click.command("show", short_help="Print an earlier version.")
@version_argument
@as_json
@click.pass_obj
def show(program: Program, version: int, json_: bool) -> None:
    """Print VERSION of the policy as it was written."""
    found = ServerApi(program.folders).get(f"{PATH}/history/{version}")
    if json_:
        print_json(found)
    else:
        texts.write(found["source"])


@click.command("diff", short_help="Compare versions and files.")
@click.argument("old")
@click.argument("new", required=False)
@as_json
@click.pass_obj
def diff(program: Program, old: str, new: str | None, json_: bool) -> None:
    """Compare policies, each the number of a version or a file (- is stdin).

    With one file: what it would change. With one version: what changed since. With two: from OLD to NEW.
    """
    api = ServerApi(program.folders)
    first, second = _either(api, old), _either(api, new) if new is not None else named(api.get(PATH))
    if new is None and not _is_version(old):
        first, second = second, first
    lines = list(texts.diff(first, second))
    if json_:
        print_json({"old": first.name, "new": second.name, "diff": lines})
    else:
        texts.print_diff(lines)


def _either(api: ServerApi, text: str) -> Text:
    if _is_version(text):
        return named(api.get(f"{PATH}/history/{text}"))
    with click.open_file(text, "rb") as file:
        return texts.read(file)


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal()


@click.command("rollback", short_help="Put an earlier version in force again.")
@version_argument
@yes_option
@as_json
@click.pass_obj
def rollback(program: Program, version: int, yes: bool, json_: bool) -> None:
    """Put VERSION of the policy in force again, as a new version, after showing what changes and asking."""
    api = ServerApi(program.folders)
    held, earlier = api.get(PATH), api.get(f"{PATH}/history/{version}")
    if held["source"] == earlier["source"]:
        tell(held, json_, f"the text of version {version} is in force already")
        return
    texts.print_diff(texts.diff(named(held), named(earlier)), err=json_)
    texts.confirm(f"Put version {version} in force again?", yes)
    try:
        stored = api.post(f"{PATH}/rollback", {"version": version}, headers=replacing(held))
    except PolicyError as error:
        texts.refuse(f"version {version}", error.findings, json_)
    tell(stored, json_, f"version {stored['version']} is in force, with the text of version {version}")


def named(version: Mapping[str, Any]) -> Text:
    """A version as the server gives it, under its number."""
    return Text(f"version {version['version']}" if version["version"] else "no policy", version["source"])


def replacing(held: Mapping[str, Any]) -> dict[str, str]:
    """The header of a write that replaces this version, and no other."""
    return {"If-Match": f'"{held["version"]}"'}


def tell(version: Mapping[str, Any], json_: bool, text: str) -> None:
    """What became of it: the version without its text for programs, a line for people."""
    if json_:
        print_json({name: value for name, value in version.items() if name != "source"})
    else:
        click.echo(text)
