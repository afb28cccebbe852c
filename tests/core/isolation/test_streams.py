"""A stranger's plugin listens and connects: the daemon makes the sockets, the child has the streams and their TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from ghostwire.errors import GhostwireError
from ghostwire.keys import DiscoKey
from ghostwire.model import MapNode
from ghostwire.testing.contracts.transport import Inbox

from .conftest import ECHO, NODE_KEY

STREAMS = '''
async def echoed(context, certificate):
    """What comes back from our own port, and what is said of one where nobody listens."""
    import ssl
    class Upper(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
        def data_received(self, data):
            self.transport.write(data.upper())
    class Ask(asyncio.Protocol):
        def __init__(self):
            self.answer = asyncio.get_running_loop().create_future()
        def connection_made(self, transport):
            transport.write(b"hello")
        def data_received(self, data):
            self.answer.set_result(data)
    server = client = None
    if certificate:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        server.load_cert_chain("cert.pem", "key.pem")
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    door = await context.sockets.listen(Upper, "127.0.0.1", 0, tls=server)
    transport, ask = await context.sockets.connect(Ask, "127.0.0.1", door.port, tls=client)
    answer = await asyncio.wait_for(ask.answer, 10)
    transport.close()
    door.close()
    try:
        await asyncio.sleep(0.2)
        await context.sockets.connect(Ask, "127.0.0.1", door.port)
    except Exception as error:
        return [answer.decode(), type(error).__name__, str(error)]
    return [answer.decode(), "still open"]
'''


@pytest.mark.parametrize("tls", [False, True], ids=["bare", "tls"])
async def test_streams_are_connected_and_accepted_by_the_daemon(
    make: Any, tmp_path: Any, issue: Any, tls: bool
) -> None:
    source = ECHO.replace(
        "self.receive = receive\n",
        f"self.receive = receive\n        self.found = await echoed(self.context, {tls})\n",
    ).replace('return [f"127.0.0.1:{self.port}"]', "return self.found")
    transport = make(source + STREAMS)
    certificate, key = issue("127.0.0.1")
    (tmp_path / "pigeon" / "cert.pem").write_bytes(certificate.read_bytes())
    (tmp_path / "pigeon" / "key.pem").write_bytes(key.read_bytes())
    await transport.start(Inbox())
    answer, kind, text = transport.endpoints()
    assert (answer, kind) == ("HELLO", "Unavailable")
    assert "is this machine, which is closed to a plugin" in text  # once it listens there no more
    await transport.close()


async def test_a_port_in_use_is_said_as_core_says_it(make: Any) -> None:
    transport = make(ECHO.replace('"127.0.0.1", 0)', '"203.0.113.7", 0)'))
    with pytest.raises(GhostwireError, match=r"UDP 203\.0\.113\.7 port 0"):
        await transport.start(Inbox())


BEHIND_A_PROXY = """
async def said_by_the_far_side(context):
    import ssl
    class Listen(asyncio.Protocol):
        def __init__(self):
            self.said = asyncio.get_running_loop().create_future()
        def data_received(self, data):
            self.said.set_result(data)
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    transport, listen = await context.sockets.connect(Listen, "far.example", 443, tls=tls, server_name="far.example")
    said = await asyncio.wait_for(listen.said, 10)
    kind = transport.get_extra_info("ssl_object").version()
    transport.close()
    return [said.decode(), kind]
"""


async def test_tls_is_the_childs_own_through_the_operators_proxy_too(make: Any, issue: Any, monkeypatch: Any) -> None:
    certificate, key = issue("far.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked: list[bytes] = []

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A proxy, and behind it whomever it was asked for."""
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.start_tls(context)
        writer.write(b"hello from afar")
        await writer.drain()

    proxy = await asyncio.start_server(far, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    source = ECHO.replace(
        "self.receive = receive\n",
        "self.receive = receive\n        self.found = await said_by_the_far_side(self.context)\n",
    ).replace('return [f"127.0.0.1:{self.port}"]', "return self.found")
    transport = make(source + BEHIND_A_PROXY)
    await transport.start(Inbox())
    assert list(transport.endpoints()) == ["hello from afar", "TLSv1.3"]
    assert asked[0].startswith(b"CONNECT far.example:443 HTTP/1.1")
    await transport.close()
    proxy.close()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('sockets.udp("0.0.0.0", 53)', "port 53 is not for a plugin"),
        ('sockets.udp("0.0.0.0", 41641)', "port 41641 is not for a plugin"),
        ('sockets.listen(asyncio.Protocol, "0.0.0.0", 443)', "port 443 is not for a plugin"),
        ('sockets.connect(asyncio.Protocol, "127.0.0.1", 25)', "is this machine, which is closed"),
        ('sockets.connect(asyncio.Protocol, "::ffff:127.0.0.1", 25)', "is this machine, which is closed"),
        ('sockets.connect(asyncio.Protocol, "64:ff9b::169.254.169.254", 80)', "is closed to a plugin"),
        ('sockets.connect(asyncio.Protocol, "100.64.0.9", 80)', "is in the mesh"),
    ],
    ids=["dns", "ours", "https", "loopback", "mapped", "translated", "mesh"],
)
async def test_ports_and_services_that_are_not_its_business_are_refused(make: Any, call: str, said: str) -> None:
    wait = "await " if "udp" not in call else ""
    transport = make(
        ECHO.replace("self.receive = receive\n", f"self.receive = receive\n        {wait}self.context.{call}\n")
    )
    transport._context.map.nodes[9] = MapNode(
        id=9,
        stable_id="n9",
        name="nest",
        node_key=NODE_KEY,
        disco_key=DiscoKey(bytes(32)),
        addresses=("100.64.0.9",),
        user=1,
    )
    with pytest.raises(GhostwireError, match=said):
        await transport.start(Inbox())


async def test_a_port_that_the_operator_named_is_the_plugins(make: Any) -> None:
    source = "import msgspec\n" + ECHO.replace(
        "self.receive = receive\n",
        "self.receive = receive\n        door = await self.context.sockets.listen(asyncio.Protocol, '127.0.0.1', 843)\n"
        "        door.close()\n",
    )
    settings = "class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):\n    listen: str = ''\n"
    transport = make(source + settings, settings='listen = "127.0.0.1:843"')
    await transport.start(Inbox())
    await transport.close()
