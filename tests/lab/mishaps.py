"""What happens to routers and hosts in use: cuts, reboots, other NATs, cables that are plugged elsewhere."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from natlab import GATEWAY, Lab
from nats import nat_rules
from netns import in_netns, sh

UDP = "meta l4proto udp"
INWARD, OUTWARD = f'iifname "wan" {UDP}', f'oifname "wan" {UDP}'
_PAYLOAD = "@th,64,32"
WIREGUARD = f"{UDP} {_PAYLOAD} {{ 0x01000000, 0x02000000, 0x03000000, 0x04000000 }}"
WIREGUARD_DATA = f"{UDP} {_PAYLOAD} 0x04000000"
"""What `dropping` takes, in nftables' words."""

_NETLINK_NETFILTER = 12
_DELETE_CONNTRACK = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE; without a tuple: all of them
_REQUEST_ACK = 5


@contextlib.contextmanager
def dropping(lab: Lab, site: str, what: str) -> Iterator[None]:
    """The site's router forwards nothing of this kind while the context is open; what it has mapped stays so."""
    table = f"table inet cut {{ chain forward {{ type filter hook forward priority -10; {what} drop; }}; }}"
    nft(lab, site, table)
    try:
        yield
    finally:
        nft(lab, site, "delete table inet cut")


def reboot(lab: Lab, site: str, port: int | None) -> None:
    """The router of a port-restricted site has forgotten all connections, and maps UDP to this port from now on (None:
    to the one inside).

    TCP is mapped to other ports too, so that connections which stood break at their next segment.
    """
    rules = f'oifname "wan" {UDP} masquerade' + (f" to :{port}" if port else ""), 'oifname "wan" masquerade random'
    lab.ip(f"{site}-r", "link set wan down")
    nft(lab, site, "flush chain ip nat post", *(f"add rule ip nat post {rule}" for rule in rules))
    forget_connections(lab, site)
    lab.ip(f"{site}-r", "link set wan up", f"route add default via {GATEWAY}")


def switch_nat(lab: Lab, site: str, kind: str) -> None:
    """The router is of another kind from now on, and has forgotten all UDP connections."""
    number = lab.addresses[f"{site}1"].split(".")[2]
    names = {"wan": f"10.50.1.{number}", "lan": f"10.60.{number}.0/24", "client": lab.addresses[f"{site}1"]}
    nft(lab, site, "flush ruleset", nat_rules(kind, **names))
    forget_connections(lab, site)


def forget_connections(lab: Lab, site: str) -> None:
    """Empty the router's conntrack table."""
    with in_netns(lab.ns(f"{site}-r")), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        sock.send(struct.pack("=IHHIII", 20, _DELETE_CONNTRACK, _REQUEST_ACK, 1, 0, 0))
        error = struct.unpack_from("=i", sock.recv(256), 16)[0]
    assert not error, f"conntrack of {site}-r: error {error}"


def renumber(lab: Lab, client: str, address: str) -> None:
    """The client gets another address of 24 bits in its LAN, and its old one is gone."""
    gateway = address.rpartition(".")[0] + ".1"
    lab.ip(client, "addr flush dev eth0", f"addr add {address}/24 dev eth0", f"route add default via {gateway}")
    lab.addresses[client] = address


def replug(lab: Lab, port: str, old: str, new: str) -> None:
    """Take the cable on this port of one site's router to another's."""
    sh(["ip", "-n", lab.ns(f"{old}-r"), "link", "set", port, "netns", lab.ns(f"{new}-r")])
    lab.ip(f"{new}-r", f"link set {port} master lan", f"link set {port} up")


def nft(lab: Lab, site: str, *lines: str) -> None:
    """Change the rules of a site's router, all at once."""
    with in_netns(lab.ns(f"{site}-r")):
        sh(["nft", "-f", "-"], "".join(f"{line}\n" for line in lines))
