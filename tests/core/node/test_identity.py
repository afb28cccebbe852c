"""Keys, membership and session number across restarts."""

import stat
from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.errors import StateError
from ghostwire.keys import MachineKey, NodeKey
from ghostwire.node.identity import Identity, Membership
from ghostwire.testing import ManualClock, SeededEntropy


def member(kit: Any, **changes: Any) -> Membership:
    return Membership(**{"url": kit.URL, "control_key": kit.CONTROL_KEY, **changes})


def test_keys_survive_a_restart_and_differ_from_each_other(kit: Any) -> None:
    first, second = Identity(kit.state, SeededEntropy(1)), Identity(kit.state, SeededEntropy(2))
    assert first.machine_key.raw == second.machine_key.raw
    assert len({first.machine_key.raw, first.node_key.raw, first.disco_key.raw}) == 3


def test_every_file_is_readable_by_the_owner_alone(kit: Any) -> None:
    identity = Identity(kit.state, SeededEntropy(1))
    identity.remember(member(kit))
    identity.next_session(ManualClock())
    assert {path.name for path in kit.state.iterdir()} == {
        "machine.key",
        "node.key",
        "disco.key",
        "server.json",
        "session",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in kit.state.iterdir()} == {0o600}


def test_the_membership_survives_a_restart(kit: Any) -> None:
    held = member(kit, up=False, expired=True, hostname="alice")
    Identity(kit.state, SeededEntropy(1)).remember(held)
    assert Identity(kit.state, SeededEntropy(1)).membership == held


def test_forgetting_takes_a_new_node_key_and_keeps_the_machine_key(kit: Any) -> None:
    identity = Identity(kit.state, SeededEntropy(1))
    identity.remember(member(kit))
    machine, node = identity.machine_key.public(MachineKey), identity.node_key.public(NodeKey)
    identity.forget()
    again = Identity(kit.state, SeededEntropy(1))
    assert again.membership is None
    assert again.machine_key.public(MachineKey) == machine
    assert again.node_key.public(NodeKey) != node


def test_the_session_number_grows_though_the_clock_went_back(kit: Any) -> None:
    identity, clock = Identity(kit.state, SeededEntropy(1)), ManualClock()
    first = identity.next_session(clock)
    clock.jump_wall(-1000 * SECOND)
    assert identity.next_session(clock) == first + 1


def test_the_session_number_grows_though_an_older_folder_was_restored(kit: Any) -> None:
    identity, clock = Identity(kit.state, SeededEntropy(1)), ManualClock()
    first = identity.next_session(clock)
    (kit.state / "session").write_text("3\n")
    clock.advance(5 * SECOND)
    assert identity.next_session(clock) > first


def test_a_damaged_membership_is_an_error_that_says_what_to_do(kit: Any) -> None:
    (kit.state / "server.json").write_text('{"url": 3}')
    with pytest.raises(StateError, match=r"server\.json: cannot be used: .*join again"):
        Identity(kit.state, SeededEntropy(1))
