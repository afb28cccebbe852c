"""Sockets, the state lock and the echo, on the real system."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire.errors import PlatformError, StateError, Unavailable
from ghostwire.node import ping
from ghostwire.node.system import SystemSockets, state_lock


def test_a_udp_socket_is_bound_and_does_not_block() -> None:
    with SystemSockets().udp("127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] > 0
        assert bound.gettimeout() == 0
        with pytest.raises(PlatformError, match=r"UDP port \d+ is in use"):
            SystemSockets().udp("127.0.0.1", bound.getsockname()[1])


def test_both_families_may_have_the_same_port() -> None:
    with SystemSockets().udp("0.0.0.0", 0) as four, SystemSockets().udp("::", four.getsockname()[1]) as six:
        assert four.getsockname()[1] == six.getsockname()[1]


async def test_a_stream_reaches_who_listens_and_says_where_nobody_does() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await SystemSockets().connect(asyncio.Protocol, "127.0.0.1", port)
    transport.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}: nobody listens there"):
        await SystemSockets().connect(asyncio.Protocol, "127.0.0.1", port)


async def test_a_name_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"no-such-host\.invalid:80: the name is not known"):
        await SystemSockets().connect(asyncio.Protocol, "no-such-host.invalid", 80)


def test_a_second_process_on_the_same_state_is_refused_with_the_firsts_pid(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ghostwire.errors import StateError\n"
        "from ghostwire.node.system import state_lock\n"
        "try:\n"
        "    with state_lock(Path(sys.argv[1])): print('mine')\n"
        "except StateError as error: print(error)\n"
    )
    other = [sys.executable, "-c", program, str(tmp_path)]
    with state_lock(tmp_path):
        refused = subprocess.run(other, capture_output=True, text=True, check=True).stdout
    allowed = subprocess.run(other, capture_output=True, text=True, check=True).stdout
    assert f"already running (pid {os.getpid()})" in refused
    assert allowed == "mine\n"


def test_a_state_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot write"), state_lock(tmp_path / "missing"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_echo_to_this_machine_is_answered(address: str) -> None:
    if ":" in address and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert 0 < await ping.echo(address, 5) < 1


async def test_an_echo_that_nobody_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_REPLY", {socket.AF_INET: 255})  # every reply that comes is another's
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: no answer within 0.05 s"):
        await ping.echo("127.0.0.1", 0.05)


async def test_an_address_that_cannot_be_reached_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"255\.255\.255\.255: "):
        await ping.echo("255.255.255.255", 1)
