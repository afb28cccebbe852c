"""A third party's distribution: installed as anybody would, selected by name, judged by its own tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "ghostwire-websocket"
PROGRAM = "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire(sys.argv[1:]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed it; it is built from a copy, so that the tree stays clean."""
    folder, copy = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("tests", "build", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True)
    return folder


def ghostwire(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=installed)


def told(installed: Path, *words: str) -> dict:
    done = ghostwire(installed, *words, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return next(each for each in said if each["name"] == "websocket")


def test_it_is_listed_and_not_selected_unless_it_is_named(installed):
    info = told(installed)
    assert (info["distribution"], info["version"], info["roles"]) == ("ghostwire-websocket", "0.1.0", ["node"])
    assert not info["selected"]


def test_naming_it_selects_it_and_it_is_isolated(installed):
    info = told(installed, "--plugin", "websocket")
    assert info["selected"]
    assert info["provides"]["ghostwire_transports"] == ["websocket"]
    assert (info["isolated"], info["trusted"], info["error"]) == (True, False, "")


def test_trusted_it_runs_in_the_daemon_and_may_still_be_left_out(installed, tmp_path):
    config = tmp_path / "gw.toml"
    config.write_text("[plugin.websocket]\ntrusted = true\n")
    info = told(installed, "--config", str(config))
    assert (info["selected"], info["isolated"], info["trusted"]) == (True, False, True)
    assert not told(installed, "--config", str(config), "--plugin", "-websocket")["selected"]


def test_the_conformance_kit_finds_it_by_name(installed, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('[plugin.websocket]\nlisten = "127.0.0.1:0"\nplain = true\n')
    words = ["--ghostwire-conformance=transport", "websocket", "--ghostwire-settings", str(settings)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout


def test_its_own_tests_pass_from_its_own_folder():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLE)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("file", sorted(EXAMPLE.rglob("*.py")), ids=lambda file: str(file.relative_to(EXAMPLE)))
def test_its_files_are_small(file):
    assert len(file.read_text().splitlines()) <= 250


def test_not_one_line_of_core_names_it():
    files = [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    assert [str(file) for file in files if "ghostwire_websocket" in file.read_text("utf-8")] == []
