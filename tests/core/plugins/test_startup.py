"""`.pth` files that run code in every program are told with who brought them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ghostwire.cli import plugins as command
from ghostwire.cli.program import Program
from ghostwire.plugins.startup import LONGEST, MOST, startup_code

CODE = "import os; os.environ['OWNED'] = '1'\n"
PIGEON = """
from ghostwire import Provider, Transport, hookimpl

@hookimpl
def ghostwire_transports():
    yield Provider("pigeon", Transport)
"""


def distribution(site: Path, name: str, *files: str) -> None:
    info = site / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.mark.parametrize(
    "text", [CODE, f"/opt/lib\n{CODE}", "import\tos", "x" * LONGEST + "\n" + CODE], ids=["code", "late", "tab", "long"]
)
def test_a_file_that_executes_code_is_told_with_its_distribution(tmp_path: Path, text: str) -> None:
    distribution(tmp_path, "quiet-wheel", "quiet/__init__.py")
    distribution(tmp_path, "Loud_Wheel", "loud.pth")
    (tmp_path / "loud.pth").write_text(text)
    (told,) = startup_code([tmp_path])
    assert told.startswith(f"loud-wheel brings loud.pth in {tmp_path}"[:200])
    assert told.endswith("which Python runs in every program that starts, GhostWire too")


def test_folders_names_and_what_every_environment_has_are_none(tmp_path: Path) -> None:
    distribution(tmp_path, "setuptools", "distutils-precedence.pth")
    distribution(tmp_path, "ghostwire-mesh", "__editable__.pth")
    distribution(tmp_path, "editable", "editable.pth")
    for name in ("distutils-precedence", "__editable__"):
        (tmp_path / f"{name}.pth").write_text(CODE)
    (tmp_path / "editable.pth").write_text("/home/ada/src\n# import os\n important\n")
    assert list(startup_code([tmp_path, tmp_path / "missing"])) == []


def test_one_that_nobody_brought_is_told(tmp_path: Path) -> None:
    distribution(tmp_path, "other", "not-left.pth")
    (tmp_path / "left.pth").write_text(CODE)
    (told,) = startup_code([tmp_path])
    assert told.startswith("no distribution says that it brings left.pth")


def test_many_and_large_ones_take_no_time(tmp_path: Path) -> None:
    for number in range(3 * MOST):
        (tmp_path / f"{number:04}.pth").write_text(CODE)
    (tmp_path / "0000.pth").write_bytes(b"x\n" * (8 << 20))
    began = time.process_time()
    assert len(list(startup_code([tmp_path]))) == MOST
    assert time.process_time() - began < 2


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_the_command_warns_where_a_strangers_plugin_is_isolated(
    words: tuple[str, ...], install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "loud", "loud.pth")
    (tmp_path / "loud.pth").write_text(CODE)
    monkeypatch.setattr(command, "folders", lambda: [tmp_path])
    install("pigeon", PIGEON, roles=["node"])

    def run(*named: str) -> Result:
        return CliRunner().invoke(command.plugins, words, obj=Program(None, tmp_path, named))

    assert "warning: loud brings loud.pth" in run("pigeon").stderr
    assert "warning" not in run().stderr
    (tmp_path / "loud.pth").unlink()
    assert "warning" not in run("pigeon").stderr
