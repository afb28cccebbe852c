"""STUN with peers that nobody here wrote: coturn's and aioice's clients ask our server, our client a stock relay."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncIterator

import aioice.stun
import pytest
import pytest_asyncio
from aioice.candidate import Candidate
from aioice.ice import StunProtocol

from ghostwire.wire import stun

STOCK_RELAY = os.environ.get("GHOSTWIRE_DERPER") or shutil.which("derper") or ""
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


def coturn(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}, of Debian's package coturn")


async def output(*command: str) -> str:
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    text, _ = await asyncio.wait_for(running.communicate(), 30)
    assert running.returncode == 0, text.decode()
    return text.decode()


@pytest.mark.real
@coturn("turnutils_stunclient")
@HOSTS
async def test_coturns_client_learns_its_address(stun_service, host):
    text = await output("turnutils_stunclient", "-p", str(stun_service.port), host)
    assert re.search(rf"UDP reflexive addr: {re.escape(host)}:\d+", text), text
    assert stun_service.metrics["ghostwire_stun_answers_total"] >= 1


@pytest.mark.real
@coturn("turnutils_natdiscovery")
@HOSTS
async def test_coturns_nat_discovery_takes_our_server_for_one_with_a_single_address(stun_service, host):
    text = await output("turnutils_natdiscovery", "-m", "-f", "-p", str(stun_service.port), host)
    assert len(re.findall(rf"UDP reflexive addr: {re.escape(host)}:\d+", text)) >= 2, text


class Receiver:
    """What aioice's protocol reports to."""

    def data_received(self, data: bytes, component: int) -> None:
        raise AssertionError(f"not STUN: {data.hex()}")

    def request_received(self, *received: object) -> None:
        raise AssertionError(f"a request: {received}")

    def protocol_lost(self, protocol: StunProtocol) -> None:
        pass


@pytest_asyncio.fixture
async def aioice_client(host: str) -> AsyncIterator[StunProtocol]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: StunProtocol(Receiver()), local_addr=(host, 0))
    port = transport.get_extra_info("sockname")[1]
    protocol.local_candidate = Candidate.from_sdp(f"1 1 udp 1 {host} {port} typ host")
    yield protocol
    await protocol.close()


@HOSTS
async def test_aioice_learns_its_address(stun_service, aioice_client, host):
    request = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
    response, source = await asyncio.wait_for(aioice_client.request(request, (host, stun_service.port)), 10)
    assert response.attributes["XOR-MAPPED-ADDRESS"] == (host, aioice_client.local_candidate.port)
    assert source == (host, stun_service.port)


@HOSTS
async def test_aioice_hears_which_attribute_we_do_not_understand(stun_service, aioice_client, host):
    request = aioice.stun.Message(
        aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST, attributes={"PRIORITY": 1, "ICE-CONTROLLED": 2}
    )
    request.add_fingerprint()
    with pytest.raises(aioice.stun.TransactionFailed, match="420"):
        await asyncio.wait_for(aioice_client.request(request, (host, stun_service.port)), 10)


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture
async def stock_stun(host: str, tmp_path: object) -> AsyncIterator[int]:
    """The STUN port of a stock relay, which listens once its log says so."""
    port, address = free_port(host), f"[{host}]:0" if ":" in host else f"{host}:0"
    relay = await asyncio.create_subprocess_exec(
        STOCK_RELAY,
        *["-a", address, "-http-port", "-1", "-stun-port", str(port), "-derp=false", "-c", f"{tmp_path}/derper.json"],
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert relay.stderr is not None
        while b"STUN server listening" not in (line := await asyncio.wait_for(relay.stderr.readline(), 20)):
            assert line, "the stock relay ended"
        yield port
    finally:
        relay.kill()
        await relay.communicate()


@pytest.mark.real
@pytest.mark.skipif(not STOCK_RELAY, reason="needs derper on PATH or named by GHOSTWIRE_DERPER")
@HOSTS
async def test_a_stock_relay_answers_our_client(stock_stun, stun_client, host):
    client, transaction = stun_client(host, stock_stun), secrets.token_bytes(12)
    answer = await client.ask(stun.binding_request(transaction))
    assert stun.mapped_address(answer) == (transaction, *client.address)
