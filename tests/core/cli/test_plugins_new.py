"""ghostwire plugins new: what it writes is installed for real, passes its own tests, and becomes a wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire.cli.main import ghostwire
from ghostwire.cli.scaffold.files import files
from ghostwire.cli.scaffold.kinds import KINDS
from ghostwire.testing.conformance.subject import HOOKS

RUN = [sys.executable, "-c", "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire())"]


def run(words: list[str], folder: Path, site: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_plugin_is_installed_tested_and_listed(kind: str, tmp_path: Path) -> None:
    name, folder, site = f"my_{kind}", tmp_path / "project", tmp_path / "site"
    assert ghostwire(["plugins", "new", name, "--kind", kind, "--directory", str(folder)]) == 0
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run([*pip, "wheel", *offline, "--wheel-dir", "dist", "."], folder, site)
    (wheel,) = (folder / "dist").glob(f"ghostwire_{name}-0.1.0-py3-none-any.whl")
    run([*pip, "install", *offline, "--target", str(site), str(wheel)], folder, site)
    words = ["pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "tests"]
    assert "passed" in run([sys.executable, "-m", *words], folder, site)
    if kind in HOOKS:
        plugin = ["-p", "no:cacheprovider", f"--ghostwire-conformance={kind}"]
        judged = run([sys.executable, "-m", "pytest", "-q", *plugin, name], tmp_path, site)
        assert "passed" in judged
        assert kind == "transport" or "skipped" not in judged
    (folder / "gw.toml").write_text(f"[plugin.{name}]\ntrusted = true\n")
    listed = json.loads(run([*RUN, "--config", "gw.toml", "plugins", "--json"], folder, site))
    (found,) = [plugin for plugin in listed if plugin["name"] == name]
    assert (found["error"], found["active"], found["version"]) == ("", True, "0.1.0")
    assert list(found["provides"]) == [KINDS[kind].hook]
    assert len(found["hash"]) == 64


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_plugin_is_clean_to_linters(kind: str, tmp_path: Path) -> None:
    for path, text in files("my_own", kind).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    ruff = [sys.executable, "-m", "ruff"]
    run(
        [*ruff, "check", "--isolated", "--no-cache", "--select", "E,F,W,I,B,UP", "--line-length", "120", "."],
        tmp_path,
        tmp_path,
    )
    run([*ruff, "format", "--isolated", "--no-cache", "--check", "--line-length", "120", "."], tmp_path, tmp_path)


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("work")
    assert ghostwire(["plugins", "new", "kite", "--directory", str(tmp_path)]) == 5
    assert capsys.readouterr().err == f"error: {tmp_path}: is there already; choose another name, or --directory\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", "Pigeon", "2nd", "a-b", "a__b", "../up", "x" * 41, "a b", "ключ"])
def test_a_bad_name_is_refused_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ghostwire(["plugins", "new", name, "--directory", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert "cannot be a plugin's name" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_who_says_the_name_of_a_distribution_is_told_the_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert ghostwire(["plugins", "new", "ghostwire-My-kite"]) == 2
    assert "; 'my_kite' would be one" in capsys.readouterr().err


def test_the_name_of_an_installed_plugin_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ghostwire(["plugins", "new", "derp", "--directory", str(tmp_path / "new")]) == 2
    assert "installed already" in capsys.readouterr().err


def test_the_next_commands_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ghostwire(["plugins", "new", "kite", "--directory", str(tmp_path / "a kite")]) == 0
    said = capsys.readouterr().out
    assert f"cd '{tmp_path}/a kite'" in said
    assert "ghostwire --plugin kite plugins" in said
