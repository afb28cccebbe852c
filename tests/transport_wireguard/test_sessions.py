"""Which of a peer's keypairs are kept, and which one is in use."""

from dataclasses import dataclass
from typing import Any

import pytest

from ghostwire_transport_wireguard.sessions import Sessions


@dataclass(eq=False)
class Key:
    """What `Sessions` needs of a keypair."""

    index: int

    @property
    def expires(self) -> int:
        return self.index


@pytest.fixture
def table() -> dict[int, Any]:
    return {}


@pytest.fixture
def sessions(table: dict[int, Any]) -> Any:
    return Sessions(table)


def test_the_keypair_before_the_one_in_use_still_opens(sessions: Any, table: dict[int, Any]) -> None:
    for number in (1, 2, 3):
        sessions.begin(Key(number))
    assert list(table) == [2, 3]
    assert sessions.current.index == 3


def test_an_expected_keypair_is_put_to_use_by_its_first_datagram(sessions: Any, table: dict[int, Any]) -> None:
    first, second = Key(1), Key(2)
    sessions.begin(first)
    sessions.expect(second)
    assert sessions.current is first
    assert sessions.confirm(second)
    assert not sessions.confirm(second)
    assert (sessions.current, sessions.previous) == (second, first)


def test_handshakes_that_crossed_cost_no_datagram_under_way(sessions: Any, table: dict[int, Any]) -> None:
    """The peer gave up the handshake that was answered last, and goes on under the first until the third is done."""
    used, never_used, new = Key(1), Key(2), Key(3)
    sessions.begin(used)
    sessions.expect(never_used)
    sessions.begin(new)
    assert used.index in table
    assert sessions.current is new


def test_an_older_keypair_that_is_confirmed_late_is_not_put_to_use(sessions: Any, table: dict[int, Any]) -> None:
    late, new = Key(1), Key(2)
    sessions.expect(late)
    sessions.begin(new)
    assert not sessions.confirm(late)
    assert sessions.current is new
    assert late.index in table


def test_no_more_than_three_are_kept_and_none_after_wiping(sessions: Any, table: dict[int, Any]) -> None:
    for number in range(0, 20, 2):
        sessions.begin(Key(number))
        sessions.expect(Key(number + 1))
        assert len(table) <= 3
    sessions.wipe()
    assert table == {}
