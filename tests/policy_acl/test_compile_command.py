"""The golden cases through the command that people have: `gwctl policy compile POLICY --nodes MESH.json --json`."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli.main import gwctl
from ghostwire_policy_acl.offline import compile_for

DATA = Path(__file__).parent.parent / "data" / "policy-golden"
CASES = [case for file in sorted(DATA.glob("*.json.xz")) for case in json.loads(lzma.decompress(file.read_bytes()))]
ACCEPTED = [case for case in CASES if case["accepted"]][::30]
REFUSED = [case for case in CASES if not case["accepted"]][::5]


@pytest.fixture
def compiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """``compiled(case)`` runs the command; the exit code and the JSON."""

    def compiled(case: Any) -> tuple[int, Any]:
        policy, mesh = tmp_path / "policy.hujson", tmp_path / "mesh.json"
        policy.write_text(_source(case))
        mesh.write_text(json.dumps(case["topology"]))
        code = gwctl(["policy", "compile", str(policy), "--nodes", str(mesh), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return compiled


def _source(case: Any) -> str:
    return case["policy"] if isinstance(case["policy"], str) else json.dumps(case["policy"])


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["id"])
def test_it_prints_what_each_node_lets_in(case: Any, compiled: Any) -> None:
    code, given = compiled(case)
    assert code == 0
    assert given == compile_for(_source(case), case["topology"])
    assert given.keys() == case["topology"]["nodes"].keys()
    for each in (each for filters in given.values() for each in filters):
        assert each.keys() == {"proto", "src", "dst"}
        assert all(to.keys() == {"net", "ports"} and len(to["ports"]) == 2 for to in each["dst"])


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["id"])
def test_a_refused_policy_ends_with_1_and_its_errors_with_their_places(case: Any, compiled: Any) -> None:
    code, given = compiled(case)
    assert code == 1
    assert given["errors"]
    assert all(error["line"] and error["column"] and error["message"] for error in given["errors"])
