"""`ghostwire demo`: a server and four nodes as real processes in throwaway network namespaces."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

TERMINATED = 128 + signal.SIGTERM


@click.command()
def demo() -> None:
    """Show a whole mesh on this machine, then clean up.

    Everything happens in network namespaces and folders of its own; a mesh that runs here is not touched. Needs
    root, or a kernel that allows user namespaces. Exit code: 0 and a last line `demo: ok`, or 1 and what failed.
    """
    from ghostwire.cli.demo.story import tell

    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(0 if tell() else 1)


def _terminated(number: int, frame: object) -> NoReturn:
    """As an exception the signal passes through the same clean-up as Ctrl-C."""
    sys.exit(TERMINATED)
