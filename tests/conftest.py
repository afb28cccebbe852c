"""Plugins of third parties, installed for one test."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(name, source, ...)`` makes a distribution with one plugin importable, and gives its folder.

    ``source`` None leaves the module out. A fresh process finds it too, through PYTHONPATH.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    before = set(sys.modules)

    def install(
        name: str,
        source: str | None,
        *,
        roles: Sequence[str] = ("server", "node", "ctl"),
        distribution: str | None = None,
        metadata: str = "",
    ) -> Path:
        distribution = distribution or f"third-party-{name.replace('_', '-')}"
        module = f"{distribution.replace('-', '_')}_{name}"
        info = site / f"{distribution.replace('-', '_')}-2.5.dist-info"
        info.mkdir()
        extras = f" [{','.join(roles)}]" if roles else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n{metadata}")
        (info / "entry_points.txt").write_text(f"[ghostwire.plugins]\n{name} = {module}{extras}\n")
        if source is not None:
            (site / f"{module}.py").write_text(source)
        importlib.invalidate_caches()
        return site

    yield install
    for added in set(sys.modules) - before:
        if getattr(sys.modules[added], "__file__", None) and str(site) in str(sys.modules[added].__file__):
            del sys.modules[added]
