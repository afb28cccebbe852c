"""The plugin of docs/plugins.md, built and installed exactly as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text()
TRANSPORT = """
from ghostwire import Transport


class PigeonTransport(Transport):
    name = "pigeon"
"""


@pytest.fixture(scope="module")
def pigeon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed plugin, and the guide's ghostwire.toml."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "ghostwire_pigeon").mkdir()
    (source / "ghostwire_pigeon" / "__init__.py").touch()
    (source / "ghostwire_pigeon" / "transport.py").write_text(TRANSPORT)
    blocks = dict(re.findall(r"```(?:python|ini|toml)\n# ([\w./]+)(.*?)```", GUIDE, re.DOTALL))
    for name in ("ghostwire_pigeon/plugin.py", "ghostwire_pigeon/settings.py", "setup.cfg", "pyproject.toml"):
        (source / name).write_text(f"# {blocks[name]}")
    (site / "ghostwire.toml").write_text(re.findall(r"```toml\n(plugins = .*?)```", GUIDE, re.DOTALL)[0])
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    made = subprocess.run([*pip, "--target", site, source], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return site


def test_the_guides_plugin_is_found_trusted_and_loaded(pigeon: Path) -> None:
    code = "import sys; from ghostwire.cli import main; sys.exit(main.ghostwire())"
    command = [sys.executable, "-c", code, "--config", "ghostwire.toml", "plugins", "--json"]
    environment = os.environ | {"PYTHONPATH": str(pigeon)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=pigeon, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = [plugin for plugin in json.loads(done.stdout) if plugin["name"] == "pigeon"]
    assert found["error"] == ""
    assert found["roles"] == ["node"]
    assert found["provides"] == {"ghostwire_transports": ["pigeon"]}
