"""The certificate of a node is made without loading here what makes it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ghostwire_transport_quic import keyfile
from ghostwire_transport_quic.certificate import check

PROGRAM = """
import sys
from pathlib import Path
from ghostwire_transport_quic.keyfile import load_credentials
load_credentials(Path(sys.argv[1]))
print("cryptography.x509" in sys.modules)
"""


def test_a_new_nodes_process_loads_no_library_for_its_certificate(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    check(keyfile.load_credentials(tmp_path))
    assert (tmp_path / keyfile.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"], ids=["none", "fails"])
def test_where_no_process_can_make_it_this_one_does(tmp_path: Path, monkeypatch: Any, program: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    check(keyfile.load_credentials(tmp_path))
