"""A plugin's hash: over its files, whatever is imported, and bounded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostwire.plugins import fingerprint as module
from ghostwire.plugins.fingerprint import fingerprint

Make = Callable[[str, str], Path]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported."""
    home = tmp_path / "hashed_package"
    (home / "inner").mkdir(parents=True)
    (home / "__init__.py").write_text("raise SystemExit('imported')")
    (home / "inner" / "data.txt").write_text("one")
    monkeypatch.syspath_prepend(str(tmp_path))
    return home


def test_any_file_changes_it_and_nothing_is_imported(package: Path) -> None:
    first = fingerprint("hashed_package.plugin")
    assert len(first) == 64
    assert fingerprint("hashed_package.plugin") == first
    (package / "inner" / "data.txt").write_text("two")
    second = fingerprint("hashed_package.plugin")
    (package / "inner" / "data.txt").rename(package / "inner" / "other.txt")
    assert len({first, second, fingerprint("hashed_package.plugin")}) == 3
    assert "hashed_package" not in sys.modules


def test_compiled_files_and_links_do_not_count(package: Path, tmp_path: Path) -> None:
    first = fingerprint("hashed_package")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.txt").write_text("x")
    (package / "old.pyc").write_bytes(b"x")
    (tmp_path / "secret").write_text("x")
    (package / "link").symlink_to(tmp_path / "secret")
    assert fingerprint("hashed_package") == first


def test_a_package_beyond_the_bounds_or_missing_has_none(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fingerprint("no_such_package_anywhere") == ""
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    assert fingerprint("hashed_package") == ""
    monkeypatch.undo()
    monkeypatch.setattr(module, "MOST_FILES", 1)
    assert fingerprint("hashed_package") == ""
