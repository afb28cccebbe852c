"""A wheel that brings more than its own modules is refused in one line, chosen or only installed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ghostwire.config import parse
from ghostwire.errors import PluginError
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection

from .conftest import ECHO, hostof

OWN = "third_party_pigeon-2.5.dist-info"
INNOCENT = ("third_party_pigeon_pigeon.py", f"{OWN}/METADATA", f"{OWN}/RECORD", f"{OWN}/INSTALLER")
GUILTY = {
    "pth": (("pigeon.pth",), "brings pigeon.pth, which Python runs in every program"),
    "sitecustomize": (("sitecustomize.py",), "brings sitecustomize, which Python runs"),
    "ours": (("ghostwire_derp/__init__.py",), "named ghostwire_derp, which is GhostWire's own"),
    "core": (("ghostwire/__init__.py",), "named ghostwire, which is GhostWire's own"),
    "python's": (("ssl.py",), "named ssl, which is Python's own"),
    "another's": (("msgspec/__init__.py",), "named msgspec, which is msgspec's"),
    "metadata": (("ghostwire_mesh-9.dist-info/entry_points.txt",), "another distribution's metadata"),
    "program": (("../../../bin/gwctl",), "brings a program named gwctl"),
}


def installed(install: Any, files: Sequence[str]) -> Path:
    site: Path = install("pigeon", ECHO)
    (site / OWN / "INSTALLER").write_text("pip")
    (site / OWN / "RECORD").write_text("".join(f"{name},,\n" for name in (*INNOCENT, *files)))
    return site


@pytest.mark.parametrize("what", GUILTY)
def test_a_wheel_that_trespasses_is_refused_in_one_line(install: Any, what: str) -> None:
    files, said = GUILTY[what]
    installed(install, files)
    with pytest.raises(PluginError) as caught:
        hostof()
    assert said in str(caught.value)
    assert "uninstall third-party-pigeon, or set trusted = true under [plugin.pigeon]" in str(caught.value)
    hostof("trusted = true")


def test_an_innocent_one_is_not(install: Any) -> None:
    installed(install, ("pigeon_data/readme.txt", "shared/pigeon/part.py", "../../../bin/pigeon-tool"))
    assert [offer.plugin for offer in hostof().offers("ghostwire_transports") if offer.isolated] == ["pigeon"]


def test_one_that_nobody_selected_is_named(install: Any, caplog: Any) -> None:
    installed(install, ("pigeon.pth",))
    selection = Selection(parse("", "gw.toml"), ())
    with caplog.at_level(logging.WARNING):
        Host.compose("node", selection)
    assert "plugin pigeon, which is not selected, brings pigeon.pth" in caplog.text
    (info,) = [info for info in Host.inspect(selection).report() if info.name == "pigeon"]
    assert "brings pigeon.pth" in info.error
