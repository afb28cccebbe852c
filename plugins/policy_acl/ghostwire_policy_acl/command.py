"""`gwctl policy`: the policy on the server's machine, read, written, checked, tested and explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import click

from ghostwire.cli.api_client import ServerApi
from ghostwire.cli.tables import as_json, print_json
from ghostwire.errors import Finding, NotFound, PolicyError
from ghostwire.wire.api_errors import findings_of
from ghostwire_policy_acl import command_texts as texts
from ghostwire_policy_acl import command_versions as versions
from ghostwire_policy_acl.command_explain import compile_, explain
from ghostwire_policy_acl.command_texts import WRONG, Text, policy_argument, yes_option
from ghostwire_policy_acl.command_versions import PATH

if TYPE_CHECKING:
    from ghostwire.cli.program import Program


@click.group()
def policy() -> None:
    """Who may reach what (on the server's machine)."""


@policy.command("get", short_help="Print the policy in force.")
@as_json
@click.pass_obj
def get(program: Program, json_: bool) -> None:
    """Print the policy in force as it was written, to the byte.

    \b
        gwctl policy get > policy.hujson
    """
    found = ServerApi(program.folders).get(PATH)
    if json_:
        print_json(found)
    elif found["version"]:
        texts.write(found["source"])
    else:
        raise NotFound(found["summary"])


@policy.command("set", short_help="Put a policy in force.")
@policy_argument
@click.option("--note", default="", metavar="TEXT", help="Why, for the history.")
@yes_option
@as_json
@click.pass_obj
def set_(program: Program, file: IO[bytes], note: str, yes: bool, json_: bool) -> None:
    """Put the policy in FILE (- is stdin) in force, after showing what changes and asking.

    It is refused, and the one in force stays, where it is wrong, where its own tests fail, or where somebody else
    changed the policy meanwhile.
    """
    api, new = ServerApi(program.folders), texts.read(file)
    held = api.get(PATH)
    errors, warnings = _checked(api, new)
    if errors:
        texts.refuse(new.name, errors, json_)
    texts.print_findings(new.name, warnings, "warning: ", err=True)
    if held["version"] and held["source"] == new.source:
        versions.tell(held, json_, f"{new.name} is in force already, as version {held['version']}")
        return
    texts.print_diff(texts.diff(versions.named(held), new), err=json_)
    texts.confirm("Put this in force?", yes)
    try:
        stored = api.put(PATH, {"source": new.source, "note": note}, headers=versions.replacing(held))
    except PolicyError as error:
        texts.refuse(new.name, error.findings, json_)
    versions.tell(stored, json_, f"version {stored['version']} is in force")


@policy.command("check", short_help="Say what is wrong with a policy.")
@policy_argument
@as_json
@click.pass_obj
def check(program: Program, file: IO[bytes], json_: bool) -> None:
    """Say everything that is wrong with the policy in FILE (- is stdin), as FILE:LINE:COLUMN: message.

    Its own tests are run against the mesh as it is now. Nothing is stored. Exit code: 1 where it would be refused.
    """
    text = texts.read(file)
    errors, warnings = _checked(ServerApi(program.folders), text)
    if json_:
        print_json({"errors": texts.as_objects(errors), "warnings": texts.as_objects(warnings)})
    else:
        texts.print_findings(text.name, errors)
        texts.print_findings(text.name, warnings, "warning: ")
        if not errors:
            click.echo(f"{text.name}: nothing is wrong with it")
    if errors:
        click.get_current_context().exit(WRONG)


@policy.command("test", short_help="Run the tests of the policy in force.")
@as_json
@click.pass_obj
def test(program: Program, json_: bool) -> None:
    """Run the tests that the policy in force contains against the mesh as it is now. Exit code: 1 where one fails."""
    answer = ServerApi(program.folders).post(f"{PATH}/test")
    failures = findings_of(answer["failures"])
    if json_:
        print_json(answer)
    else:
        texts.print_findings(f"version {answer['version']}", failures)
        if not failures:
            click.echo(f"all tests of version {answer['version']} pass")
    if failures:
        click.get_current_context().exit(WRONG)


def _checked(api: ServerApi, text: Text) -> tuple[Sequence[Finding], Sequence[Finding]]:
    answer = api.post(f"{PATH}/check", {"source": text.source})
    return findings_of(answer["errors"]), findings_of(answer["warnings"])


for _command in (versions.history, versions.show, versions.diff, versions.rollback, explain, compile_):
    policy.add_command(_command)
