"""What the command line says of a mesh without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire.errors import StateError, UsageError
from ghostwire_derp.mesh.options import parse_sibling, read_mesh_key

PIN = "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relay.example", ("relay.example", 3478, True, "")),
        ("relay.example:443", ("relay.example", 443, True, "")),
        ("https://relay.example", ("relay.example", 3478, True, "")),
        ("http://192.0.2.1:3340", ("192.0.2.1", 3340, False, "")),
        ("[2001:db8::1]:443", ("2001:db8::1", 443, True, "")),
        (f"relay.example:443#{PIN.upper()}", ("relay.example", 443, True, PIN)),
    ],
)
def test_another_relay_is_a_host_and_what_tells_its_certificate(text: str, expected: tuple[object, ...]) -> None:
    relay = parse_sibling(text, 3)
    assert (relay.host, relay.port, relay.tls, relay.certificate) == expected
    assert relay.id == -3


@pytest.mark.parametrize("text", ["", ":443", "a:0", "a:65536", "a b", "ftp://a", "a/b", "a#12", "2001:db8::1"])
def test_what_is_no_relay_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--mesh-with .*expected HOST"):
        parse_sibling(text, 1)


def test_the_mesh_key_is_64_hex_digits_in_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mesh.key"
    file.write_text("0A" * 32 + "\n")
    file.chmod(0o600)
    assert read_mesh_key(file) == b"\x0a" * 32
    file.chmod(0o640)
    with pytest.raises(StateError, match="others may read this mesh key; run: chmod 600"):
        read_mesh_key(file)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(StateError, match="not a mesh key"):
        read_mesh_key(file)
    with pytest.raises(StateError, match="cannot read the mesh key: No such file"):
        read_mesh_key(tmp_path / "none")
