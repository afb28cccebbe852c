"""A port asked of a real router, Debian's miniupnpd, by each of the three protocols alone."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from natlab import Lab
from netns import in_netns
from programs import Mesh, wait_for

from ghostwire import Metrics, Sockets
from ghostwire.engine import SECOND
from ghostwire.node.portmap import granted
from ghostwire.node.portmap.mapping import PortMapping
from ghostwire.node.portmap.report import PortMapProtocols
from ghostwire.system.clock import SystemClock
from ghostwire_net_linux.netlink import default_routes

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not shutil.which("miniupnpd"),
        reason="needs miniupnpd: apt-get install --no-install-recommends miniupnpd-nftables",
    ),
]

PORT = 41641
OUTSIDE, STRANGER = "44.128.0.1", "44.128.0.9"
"""Of amateur radio's range for tests: miniupnpd refuses to map at an address that it knows to be private."""
PATIENCE = 10.0
RULES = """
table inet upnp {
  chain forward { type filter hook forward priority -10; jump allowed; }
  chain before { type nat hook prerouting priority -110; jump mapped; }
  chain after { type nat hook postrouting priority 90; jump masked; }
  chain allowed { }
  chain mapped { }
  chain masked { }
  chain input { type filter hook input priority -10;
    %s
  }
}
"""
CONFIG = """
ext_ifname=wan
ext_ip={outside}
listening_ip=lan
enable_natpmp={control}
enable_upnp={upnp}
min_lifetime=1
secure_mode=yes
ipv6_disable=yes
system_uptime=no
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=allowed
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=masked
uuid=9f0d8b3e-0000-4000-8000-000000000001
{more}
allow 1024-65535 10.60.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
NAT_PMP, PCP = (f"udp dport 5351 @th,64,8 != {version} drop" for version in (0, 2))
"""One option of miniupnpd's switches both on: what is in the first byte of a request tells them apart."""
SPOKEN = {
    "NAT-PMP": (NAT_PMP, True, False, PortMapProtocols(nat_pmp=True, pcp=False, upnp=False)),
    "PCP": (PCP, True, False, PortMapProtocols(nat_pmp=False, pcp=True, upnp=False)),
    "UPnP": ("", False, True, PortMapProtocols(nat_pmp=False, pcp=False, upnp=True)),
}


class There(Sockets):
    """Real sockets in a member's namespace."""

    def __init__(self, lab: Lab, member: str) -> None:
        self.lab, self.member = lab, member

    def udp(self, host: str, port: int) -> Any:
        made = self.lab.socket(self.member)
        made.setblocking(False)
        made.bind((host, port))
        return made

    async def connect(self, protocol: Any, host: str, port: int, *, tls: Any = None, server_name: str = "") -> Any:
        made = self.lab.socket(self.member, kind=socket.SOCK_STREAM)
        made.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(made, (host, port))
        return await loop.create_connection(protocol, sock=made)


@dataclass
class Home:
    """A client a1 behind the router a-r, and a stranger outside."""

    lab: Lab
    folder: Path
    method: str
    daemon: subprocess.Popen[Any] | None = None

    def start(self, more: str = "") -> None:
        """miniupnpd."""
        rules, control, upnp, _ = SPOKEN[self.method]
        self.lab.run("a-r", ["nft", "delete", "table", "inet", "upnp"])
        made = self.lab.run("a-r", ["nft", "-f", "-"], input=RULES % rules)
        assert made.returncode == 0, made.stderr
        config = self.folder / "miniupnpd.conf"
        switches = {"control": "yes" if control else "no", "upnp": "yes" if upnp else "no"}
        config.write_text(CONFIG.format(outside=OUTSIDE, more=more, **switches))
        command = ["miniupnpd", "-d", "-f", str(config), "-P", str(self.folder / "miniupnpd.pid")]
        with (self.folder / "miniupnpd.log").open("ab") as log:
            self.daemon = self.lab.popen("a-r", command, stdout=log, stderr=log)

    def stop(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def mapped(self) -> bool:
        """Whether the router translates anything."""
        return "dnat" in self.lab.run("a-r", ["nft", "list", "chain", "inet", "upnp", "mapped"]).stdout

    def gateway(self, client: str) -> str | None:
        with in_netns(self.lab.ns(client)):
            return next((route.gateway for route in default_routes()), None)

    def mapping(self, client: str = "a1", **options: Any) -> PortMapping:
        parts: Any = SimpleNamespace(
            sockets=There(self.lab, client),
            platform=SimpleNamespace(gateway=lambda: self.gateway(client)),
            clock=SystemClock(),
            entropy=os.urandom,
            port_mapping=True,
            state=self.state(client),
            log=logging.getLogger("test"),
            metrics=Metrics(),
        )
        return PortMapping(parts, lambda: None, **options)

    def state(self, client: str) -> Path:
        folder = self.folder / client
        folder.mkdir(exist_ok=True)
        return folder

    async def reached(self, endpoint: str, client: str = "a1") -> bool:
        """Whether a stranger's datagram to that endpoint arrives at the client's port."""
        loop, (address, port) = asyncio.get_running_loop(), endpoint.split(":")
        with closing(self.lab.socket(client)) as inside, closing(self.lab.socket("out")) as outside:
            inside.setblocking(False)
            inside.bind(("0.0.0.0", PORT))
            outside.sendto(b"hello", (address, int(port)))
            async with asyncio.timeout(PATIENCE):
                data, source = await loop.sock_recvfrom(inside, 100)
        return data == b"hello" and source[0] == STRANGER


async def until(what: str, happened: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not happened():
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what}: not within {PATIENCE:.0f} s")


@pytest.fixture(params=SPOKEN)
def home(request: pytest.FixtureRequest, namespaces: None, tmp_path: Path) -> Iterator[Home]:
    with Lab() as lab:
        lab.site("a", "port_restricted", clients=2)
        lab.host("out", "10.50.0.9")
        lab.build()
        lab.ip("a-r", f"addr add {OUTSIDE}/16 dev wan")
        lab.ip("out", f"addr add {STRANGER}/16 dev eth0")
        home = Home(lab, tmp_path, request.param)
        home.start()
        yield home


async def spoken(home: Home) -> None:
    """Wait until the router answers; by a conversation of its own, so that the test's begins anew."""
    mapping = home.mapping()
    for _ in range(20):
        if SPOKEN[home.method][3] == await mapping.probe():
            return
    pytest.fail(f"{home.method}: {mapping.found}; {(home.folder / 'miniupnpd.log').read_text()[-2000:]}")


async def test_a_stranger_reaches_the_node_through_its_mapping_until_it_is_given_back(home):
    await spoken(home)
    mapping = home.mapping()
    mapping.start(PORT)
    await until("mapped", lambda: mapping.mapped)
    assert mapping.mapped == f"{OUTSIDE}:{PORT}"
    assert await home.reached(mapping.mapped)
    assert home.mapped()
    await mapping.close()
    assert not mapping.mapped
    assert not home.mapped()


async def test_two_nodes_behind_one_router_get_a_port_each(home):
    await spoken(home)
    mappings = {client: home.mapping(client) for client in ("a1", "a2")}
    for client, mapping in mappings.items():
        mapping.start(PORT)
        await until("mapped", lambda mapping=mapping: mapping.mapped)
        assert await home.reached(mapping.mapped, client)
    assert len({mapping.mapped for mapping in mappings.values()}) == 2
    await mappings["a1"].close()
    assert await home.reached(mappings["a2"].mapped, "a2")
    await mappings["a2"].close()
    assert not home.mapped()


async def test_a_mapping_is_renewed_as_long_as_it_is_held_and_ends_by_itself_where_its_node_was_killed(
    home, monkeypatch
):
    monkeypatch.setattr(granted, "SHORTEST", 2 * SECOND)
    await spoken(home)
    mapping = home.mapping(lifetime=2 * SECOND)
    mapping.start(PORT)
    await until("mapped", lambda: mapping.mapped)
    since = mapping.lease.since
    await until("renewed twice", lambda: mapping.lease.since > since + 3 * SECOND)
    assert await home.reached(mapping.mapped)
    mapping._task.cancel()
    await until("ended", lambda: not home.mapped())


@pytest.mark.parametrize("home", ["NAT-PMP", "PCP"], indirect=True)  # UPnP tells no count of seconds
async def test_a_router_that_starts_anew_is_asked_again_at_once(home):
    await spoken(home)
    mapping = home.mapping()
    mapping.start(PORT)
    await until("mapped", lambda: mapping.mapped)
    first = mapping.lease
    await until("old enough", lambda: SystemClock().now() - first.since > 6 * SECOND)
    home.stop()
    home.start()
    await until("mapped again", lambda: mapping.lease is not first and home.mapped())
    assert await home.reached(mapping.mapped)
    await mapping.close()


def test_a_node_behind_a_symmetric_router_goes_direct_by_its_mapping_and_gives_it_back(tun, tmp_path):
    """The other is behind a port-restricted router: without a mapping this pair stays relayed."""
    with Lab() as lab:
        lab.site("a", "symmetric")
        lab.site("b", "port_restricted")
        mesh = Mesh(lab, tmp_path, "a1", "b1")
        lab.ip("a-r", f"addr add {OUTSIDE}/16 dev wan")
        lab.ip("b-r", f"addr add {STRANGER}/16 dev wan")
        home = Home(lab, tmp_path, "NAT-PMP")
        home.start()
        mesh.start("a1", "b1")
        one, other = mesh.nodes["a1"], mesh.nodes["b1"]
        wait_for("direct", lambda: other.reaches(one, relayed=False))
        assert other.peer("a1")["path"]["endpoint"] == f"{OUTSIDE}:{PORT}"
        report = json.loads(one.gwctl("netcheck", "--json"))
        assert report["port_mapped"] == f"{OUTSIDE}:{PORT}"
        assert report["port_mapping"] == {"nat_pmp": True, "pcp": False, "upnp": False}
        assert home.mapped()
        assert one.end() == 0
        assert not home.mapped()
