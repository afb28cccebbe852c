"""The wheel: built as a release is, unpacked elsewhere, and used from there."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [ROOT / "core" / "ghostwire", *(ROOT / "plugins").glob("*/ghostwire_*")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, and both from a copy, since building writes into the tree that it builds."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("core", "plugins"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(tree)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, str(wheel)], check=True)
    return folder


def run(elsewhere: Path, code: str) -> str:
    """What this code prints where the wheel's files come before the checkout's."""
    environment = os.environ | {"PYTHONPATH": str(elsewhere)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=elsewhere, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources() -> Iterator[str]:
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            yield str(path.relative_to(package.parent))


def test_the_wheel_holds_every_module_and_nothing_else_but_its_own_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(sources()) <= names
    others = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    protos = {f"{path.parent.name}/{path.name}" for path in ROOT.glob("plugins/*/ghostwire_*/*.proto")}
    assert others == {f"{package.name}/py.typed" for package in PACKAGES} | protos


def test_every_plugin_loads_from_the_installed_wheel(elsewhere: Path) -> None:
    code = "import sys; from ghostwire.cli import main; sys.exit(main.ghostwire(['plugins', '--json']))"
    plugins = json.loads(run(elsewhere, code))
    assert {plugin["name"] for plugin in plugins} >= {path.name for path in (ROOT / "plugins").iterdir()}
    assert [plugin["error"] for plugin in plugins if plugin["error"]] == []
    assert run(elsewhere, "import ghostwire; print(ghostwire.__file__)").startswith(str(elsewhere))
