"""The echo, on the real system."""

import socket

import pytest

from ghostwire.errors import Unavailable
from ghostwire.node import ping


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_echo_to_this_machine_is_answered(address: str) -> None:
    if ":" in address and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert 0 < await ping.echo(address, 5) < 1


async def test_an_echo_that_nobody_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_REPLY", {socket.AF_INET: 255})  # every reply that comes is another's
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: no answer within 0.05 s"):
        await ping.echo("127.0.0.1", 0.05)


async def test_what_is_left_of_a_deadline_is_told_in_few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_REPLY", {socket.AF_INET: 255})
    with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):
        await ping.echo("127.0.0.1", 0.04997)


async def test_an_address_that_cannot_be_reached_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"255\.255\.255\.255: "):
        await ping.echo("255.255.255.255", 1)
