"""The committed code is what the .proto files give, and the table of methods is what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from grpcclient import FILES, PROTOS

from ghostwire_api_grpc import admin, admin_pb2, control_pb2
from ghostwire_api_grpc.protos import ADMIN, CONTROL

ROOT = PROTOS.parents[1]
RPC = re.compile(r"rpc (\w+)\((\w+)\) returns \(\w+\); // (\w+) /api/v1(\S+)")


def test_the_committed_code_is_what_the_files_give(tmp_path: Path) -> None:
    """But for what a compiler of another version writes around it."""
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([str(ROOT / "scripts" / "protos"), str(tmp_path)], check=True, env=environment)
    for name in FILES:
        made = name.replace(".proto", "_pb2.py")
        assert described(PROTOS / made) == described(tmp_path / made), f"{name} changed: run scripts/protos"


def described(code: Path) -> list[str]:
    return [line for line in code.read_text().splitlines() if "AddSerializedFile" in line]


def test_each_method_is_the_route_that_its_comment_names() -> None:
    said = {found[1]: (found[3], found[4]) for found in RPC.finditer((PROTOS / FILES[1]).read_text())}
    assert said == {name: tuple(route) for name, route in admin.ROUTES.items()}
    assert set(said) == set(ADMIN.methods_by_name)


def test_a_request_has_what_its_path_names() -> None:
    for name, route in admin.ROUTES.items():
        fields = ADMIN.methods_by_name[name].input_type.fields_by_name
        assert set(re.findall(r"{(\w+)}", route.path)) <= set(fields), name


def test_no_name_is_used_twice() -> None:
    names = [name for file in (control_pb2, admin_pb2) for name in file.DESCRIPTOR.message_types_by_name]
    assert len(names) == len(set(names))
    assert {CONTROL.full_name, ADMIN.full_name} == {"ghostwire.v1.Control", "ghostwire.v1.Admin"}
