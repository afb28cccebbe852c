"""docs/plugins.md and the code in step: its reference, its commands, and what it says of transports."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ghostwire
from ghostwire.cli.main import GHOSTWIRE, GWCTL
from ghostwire.cli.scaffold.kinds import KINDS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "plugins.md").read_text()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("plugins_page", str(ROOT / "scripts" / "plugins-page"))
    spec = importlib.util.spec_from_loader("plugins_page", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = dont_write
    return module


def test_the_reference_is_what_the_docstrings_say(script: ModuleType) -> None:
    assert script.page(TEXT) == TEXT, "run scripts/plugins-page"


def test_everything_that_authors_import_is_documented() -> None:
    kinds = [name for name in ghostwire.__all__ if isinstance(getattr(ghostwire, name), type)]
    assert [name for name in kinds if f"#### `{name}`" not in TEXT] == []
    assert [name for name in kinds if not getattr(ghostwire, name).__doc__] == []


def test_the_page_is_readable_as_text() -> None:
    """Rows of tables and signatures aside, which are one line each."""
    long = [line for line in TEXT.splitlines() if len(line) > 120]
    assert [line for line in long if not line.startswith("|") and not re.match(r"- (async )?`.*`:$", line)] == []


def test_every_command_and_kind_that_the_page_names_exists() -> None:
    assert set(re.findall(r"`gwctl ([a-z]+)", TEXT)) <= set(GWCTL)
    assert set(re.findall(r"^ghostwire (?:--plugin \w+ )?([a-z]+)", TEXT, re.MULTILINE)) <= set(GHOSTWIRE)
    (kinds,) = re.findall(r"--kind (.*?)\npip", TEXT, re.DOTALL)
    assert set(KINDS) - set(re.findall(r"[a-z]+", kinds)) == {"transport"}


def test_the_first_chapters_commands_work_as_they_stand(tmp_path: Path) -> None:
    """All but those that ask an index; PYTHONPATH stands for the editable install."""
    chapter = TEXT.partition("## From nothing")[2].partition("\n## ")[0]
    block = re.findall(r"```\n(.*?)```", chapter, re.DOTALL)[0]
    lines = [line.split("#")[0].strip() for line in block.splitlines()]
    script = "\n".join(line for line in lines if line and not line.startswith("pip "))
    assert "pytest" in script
    tools, home = tmp_path / "bin", tmp_path / "home"
    tools.mkdir()
    home.mkdir()
    code = "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire())"
    for name, words in {"ghostwire": f"-c '{code}'", "pytest": "-m pytest -q -p no:cacheprovider"}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (tools / name).chmod(0o755)
    listing = "ghostwire --plugin kite plugins"
    assert script.splitlines()[-1] == listing
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": "."}
    words = ["sh", "-ec", script.removesuffix(listing)]
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
