"""How a program ends: its exit code, and one line on stderr where something went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import click

from ghostwire.errors import GhostwireError
from ghostwire.hints import one_line

INTERRUPTED = 130
INTERNAL = 70


def guarded(run: Callable[[], object], *, debug: bool = False) -> int:
    """Run a program and give its exit code. Each error is one line on stderr; with ``debug`` its traceback too."""
    try:
        result = run()
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if debug:
            traceback.print_exc()
        code, line = explain(_root(error))
        if line:
            print(f"error: {line}", file=sys.stderr)
        return code
    return result if isinstance(result, int) else 0


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for an exception; the line is empty where there is nothing to say."""
    if isinstance(error, GhostwireError):
        return error.exit_code, one_line(error)
    if isinstance(error, click.Abort) and isinstance(error.__cause__, EOFError):
        return 1, "nothing was entered; nothing was done"
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, ""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return error.exit_code, ""
    if isinstance(error, click.ClickException):
        return error.exit_code, _usage(error)
    return INTERNAL, f"internal error: {type(error).__name__}: {one_line(error)}; run with --debug for its traceback"


def _usage(error: click.ClickException) -> str:
    """click's message, with the command whose help says more."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    text = one_line(error.format_message()).rstrip(".")
    return f"{text} (see {context.command_path} --help)" if context else text


def _root(error: BaseException) -> BaseException:
    """The one exception in a group of one, as task groups raise it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
