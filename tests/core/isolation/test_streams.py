"""A stranger's plugin listens and connects: the daemon makes the sockets, the child has the streams and their TLS."""

from __future__ import annotations

from typing import Any

import pytest

from ghostwire.errors import GhostwireError
from ghostwire.testing.contracts.transport import Inbox

from .conftest import ECHO

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
