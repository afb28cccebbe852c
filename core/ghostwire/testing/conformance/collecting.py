"""Gives pytest the rules of a capability as tests of an installed provider."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.errors import GhostwireError

HERE = Path(__file__)

pytest.register_assert_rewrite("ghostwire.testing.contracts")


class Rule(pytest.Item):
    """One rule."""

    def __init__(self, *, contract: type[Any], **options: Any) -> None:
        super().__init__(**options)
        self.contract = contract

    def runtest(self) -> None:
        """Run it on a new object of the contract."""
        getattr(self.contract(), self.name)()

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands, and its name."""
        return self.path, None, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A broken rule is its message and where it stands; of all else the steps since the rule began are shown."""
        if isinstance(excinfo.value, pytest.fail.Exception):
            return str(excinfo.value)  # of another process: it brings its own traceback
        if not isinstance(excinfo.value, AssertionError):
            steps = traceback.extract_tb(excinfo.tb)
            begun = next((at for at, step in enumerate(steps) if step.name == self.name), 0)
            shown = traceback.StackSummary.from_list(steps[begun:]).format()
            return "".join((*traceback.format_exception_only(excinfo.value), "\n", *shown)).rstrip()
        where = traceback.extract_tb(excinfo.tb)[-1]
        notes = "\n".join(getattr(excinfo.value, "__notes__", ()))
        return f"{excinfo.value}\n\nin {where.filename}:{where.lineno}: {where.line}\n{notes}".rstrip()


class Suite(pytest.File):
    """All rules of the capability."""

    def collect(self) -> Iterator[Rule]:
        """One item a rule."""
        from ghostwire.testing.conformance.generic import contract_for

        contract = contract_for(self.config.stash[SUBJECT])
        for name in contract.rules():
            yield Rule.from_parent(self, name=f"test_{name}", contract=contract)


SUBJECT = pytest.StashKey[Any]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the provider; a mistake is one line, and no traceback."""
    from ghostwire.testing.conformance.generic import contract_for
    from ghostwire.testing.conformance.subject import find

    option = config.option
    names = [word for word in option.file_or_dir if word != str(HERE)] or [getattr(option, "ghostwire_provider", "")]
    if len(names) != 1 or not names[0]:
        raise pytest.UsageError("name one provider: pytest --ghostwire-conformance=CAPABILITY NAME")
    option.ghostwire_provider = names[0]
    settings = Path(option.ghostwire_settings) if option.ghostwire_settings else None
    try:
        subject = config.stash[SUBJECT] = find(option.ghostwire_conformance, names[0], settings)
        contract_for(subject)
    except GhostwireError as error:
        raise pytest.UsageError(str(error)) from None
    config.args[:] = [str(HERE)]


def pytest_report_header(config: pytest.Config) -> str:
    """Whom the rules judge."""
    return f"ghostwire: rules for the {config.stash[SUBJECT]}"


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Any:
    """The rules instead of this file's own tests, of which there are none."""
    if module_path != HERE:
        return None
    option = parent.config.option
    return Suite.from_parent(
        parent, path=module_path, nodeid=f"{option.ghostwire_conformance}:{option.ghostwire_provider}"
    )
