"""SSDP (UPnP Device Architecture 1.1, §1.3): finds where a router's description is.

The router is asked by itself first, then by multicast too, since some answer only the one or the other. Answers count
only from the router's address, whatever the port, and only where they lead to that very address.

request  M-SEARCH * HTTP/1.1 · HOST · MAN: "ssdp:discover" · MX: seconds within which to answer · ST: what is sought
answer   HTTP/1.1 200 OK · LOCATION: URL of the description · ST: what was found
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import SplitResult, urlsplit

from ghostwire.engine import SECOND
from ghostwire.node.portmap.asking import Address, Asking

PORT = 1900
GROUP = "239.255.255.250"
WAIT = 1
"""Seconds that a device may wait before it answers."""
IGD = "InternetGatewayDevice"
SOUGHT = (f"urn:schemas-upnp-org:device:{IGD}:1", "ssdp:all")
MOST = 4
"""Descriptions that are remembered; a router with a media server in it has two."""
LONGEST_URL = 512


def request(sought: str, host: str) -> bytes:
    """A search."""
    lines = ("M-SEARCH * HTTP/1.1", f"HOST: {host}:{PORT}", f"ST: {sought}", 'MAN: "ssdp:discover"', f"MX: {WAIT}")
    return "\r\n".join((*lines, "", "")).encode()


class Ssdp(Asking):
    """Searches for descriptions; ends with the first of a gateway device, else when the time is up.

    ``locations`` are their URLs, those of gateway devices first.
    """

    def __init__(self, gateway: str, now: int) -> None:
        super().__init__((gateway, PORT), dict.fromkeys(SOUGHT, b""), now, last=WAIT * SECOND)
        self._gateways = dict[str, None]()
        self._others = dict[str, None]()

    @property
    def locations(self) -> Sequence[str]:
        """What was found, at most `MOST`."""
        return [*self._gateways, *self._others][:MOST]

    def attempt(self, number: int, requests: Sequence[bytes]) -> Sequence[tuple[Address, bytes]]:
        """The router alone, then the group as well."""
        targets = [self.target] if number == 1 else [self.target, (GROUP, PORT)]
        return [(target, request(sought, target[0])) for target in targets for sought in SOUGHT]

    def comes_from(self, source: Address) -> bool:
        """Devices answer from any port."""
        return source[0] == self.target[0]

    def silent(self) -> None:
        """The time is up."""
        if self.locations:
            self._waiting.clear()
        else:
            super().silent()

    def take(self, data: bytes, now: int) -> bool:
        """Use a datagram."""
        head = _head(data)
        location = head.get("location", "")
        if at(location, self.target[0]) is None:
            return False
        self.heard = True
        if IGD in head.get("st", ""):
            self._gateways[location] = None
            self._waiting.clear()
        elif len(self._others) < MOST:
            self._others[location] = None
        return True


def at(url: str, gateway: str) -> SplitResult | None:
    """The parts of a plain HTTP URL whose host is the gateway's very address; None for any other."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "http" and IPv4Address(parts.hostname or "") == IPv4Address(gateway) and parts.port != 0
    except (ValueError, AddressValueError):
        return None
    plain = url.isascii() and url.isprintable() and " " not in url and parts.username is None
    return parts if fine and plain and len(url) <= LONGEST_URL else None


def _head(data: bytes) -> dict[str, str]:
    """The fields of an answer, by lower-case name; empty where it is none."""
    first, *lines = data.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/1.") or first.split(" ")[1:2] != ["200"]:
        return {}
    fields = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in fields}
