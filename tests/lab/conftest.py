"""The lab as fixtures: real namespaces, real programs. See CONTRIBUTING.md, "Use the lab"."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from natlab import Lab  # noqa: E402
from netns import clean_leftovers, why_no_tun, why_not  # noqa: E402
from programs import Mesh  # noqa: E402


def pytest_itemcollected(item: pytest.Item) -> None:
    """Everything here is marked ``lab``."""
    item.add_marker(pytest.mark.lab)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables whose rows tests recorded: ``record_property("table TITLE", {column: cell})``."""
    tables: dict[str, list[dict[str, object]]] = {}
    for report in chain.from_iterable(terminalreporter.stats.values()):
        for name, row in getattr(report, "user_properties", ()) if getattr(report, "when", "") == "call" else ():
            if name.startswith("table "):
                tables.setdefault(name.removeprefix("table "), []).append(row)
    for title, rows in tables.items():
        terminalreporter.section(title)
        for line in _lines(rows):
            terminalreporter.write_line(line)


def _lines(rows: list[dict[str, object]]) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([str(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for each in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)).rstrip()


@pytest.fixture(scope="session", autouse=True)
def namespaces() -> None:
    """Skip where no namespaces can be made; take away what dead runs left."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    clean_leftovers()


@pytest.fixture(scope="session")
def tun(namespaces: None) -> None:
    """Skip where no TUN device can be made."""
    reason = why_no_tun()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def mesh(tun: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The nodes alice and bob, whom no test hurts for good, and eve's machine, where strangers may run."""
    with Lab() as lab:
        mesh = Mesh(lab, tmp_path_factory.mktemp("mesh"), "alice", "bob", "eve")
        mesh.start("alice", "bob")
        yield mesh


@pytest.fixture
def own_mesh(tun: None, tmp_path: Path) -> Iterator[Mesh]:
    """A mesh of one test: alice and bob are enrolled, eve does not run yet."""
    with Lab() as lab:
        mesh = Mesh(lab, tmp_path, "alice", "bob", "eve")
        mesh.start("alice", "bob")
        yield mesh


@pytest.fixture(scope="module")
def make_lab(namespaces: None) -> Iterator[Callable[[], Lab]]:
    """Gives empty labs that are taken away after the module's tests."""
    labs: list[Lab] = []

    def make() -> Lab:
        labs.append(Lab())
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()
