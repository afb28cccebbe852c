"""Key files, and what of a secret can be seen by accident."""

import stat
from pathlib import Path

import pytest

from ghostwire import EnrolmentRequest
from ghostwire.errors import StateError
from ghostwire.keys import MachineKey, load_or_create_private_key, load_private_key, write_private
from ghostwire.wire.messages import Credentials


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "machine.key"
    made = load_or_create_private_key(path)
    assert load_or_create_private_key(path).raw == made.raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["machine.key"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "machine.key"
    load_or_create_private_key(path)
    path.chmod(0o640)
    with pytest.raises(StateError, match="chmod 600"):
        load_private_key(path)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_lies_in_the_way_of_a_private_file_neither_gets_it_nor_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)
    victim, trap = tmp_path / "victim", tmp_path / ".secret.7.new"
    victim.write_text("precious")
    if kind == "link":
        trap.symlink_to(victim)
    else:
        trap.touch(0o666)
        trap.chmod(0o666)
    write_private(tmp_path / "secret", b"the secret")
    assert victim.read_text() == "precious"
    assert (tmp_path / "secret").read_bytes() == b"the secret"
    assert stat.S_IMODE((tmp_path / "secret").lstat().st_mode) == 0o600
    assert not trap.exists()


def test_secrets_do_not_show_themselves() -> None:
    shown = [Credentials("auth_key", "hunter2"), EnrolmentRequest(MachineKey(bytes(32)), "hunter2", 1)]
    assert "hunter2" not in repr(shown)
