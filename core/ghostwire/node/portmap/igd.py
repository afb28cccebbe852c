"""UPnP Internet Gateway Device: where its description says to ask, and the SOAP actions that are asked.

IGD:2 has WANIPConnection:2 with AddAnyPortMapping, IGD:1 has WANIPConnection:1 or WANPPPConnection:1 with
AddPortMapping alone. Values of arguments are of our own making; what is read is of the router's, and is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urljoin

from ghostwire.errors import Refused, RemoteProtocolError
from ghostwire.node.portmap import ssdp, xml

SERVICES = tuple(f"urn:schemas-upnp-org:service:{name}" for name in ("WANIPConnection:2", "WANIPConnection:1"))
SERVICES += ("urn:schemas-upnp-org:service:WANPPPConnection:1",)
"""Best first."""
MOST = 4
"""Services of one description that are asked."""

INVALID_ACTION, INVALID_ARGUMENTS = 401, 402
PORT_TAKEN, ONLY_SAME_PORTS, ONLY_PERMANENT = 718, 724, 725

Arguments = Iterable[tuple[str, object]]

_ENVELOPE = (
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{service}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)


@dataclass(frozen=True, slots=True)
class Control:
    """Where a service's actions are asked: a URL at the gateway, and the service's type."""

    url: str
    service: str


class Fault(Refused):
    """The router refused an action, with UPnP's number for why."""

    def __init__(self, action: str, number: int, text: str) -> None:
        super().__init__(f"UPnP: {action} was refused: {number} {text}".rstrip())
        self.number = number


def controls(description: bytes, location: str, gateway: str) -> Sequence[Control]:
    """The services that map ports, best first; RemoteProtocolError where it is no description of a device.

    Those whose URL leads away from the gateway are left out.
    """
    document = xml.leaves(description)
    base = xml.text_of(document, "URLBase")
    base = base if ssdp.at(base, gateway) else location
    found = [Control(_joined(base, url), service) for service, url in _services(document)]
    usable = [each for each in found if each.service in SERVICES and ssdp.at(each.url, gateway)]
    return sorted(dict.fromkeys(usable), key=lambda each: SERVICES.index(each.service))[:MOST]


def _services(document: Sequence[xml.Leaf]) -> Iterable[tuple[str, str]]:
    """The type and URL of each: texts of one element ``service``, which stand together."""
    inside = [(path, text) for path, text in document if path[-2:-1] == ("service",) or path[-1] == "service"]
    for ends, group in groupby(inside, key=lambda each: each[0][-1] == "service"):
        fields = {path[-1]: text for path, text in group}
        if not ends:
            yield fields.get("serviceType", ""), fields.get("controlURL", "")


def _joined(base: str, url: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:
        return ""


def envelope(control: Control, action: str, arguments: Arguments) -> bytes:
    """The body of a request."""
    texts = "".join(f"<{name}>{''.join(xml.escaped(str(value)))}</{name}>" for name, value in arguments)
    return _ENVELOPE.format(action=action, service=control.service, arguments=texts).encode()


def answer(status: int, body: bytes, action: str, name: str = "") -> str:
    """What an action answered under ``name``; Fault where it was refused, RemoteProtocolError for nonsense."""
    document = xml.leaves(body)
    number = xml.text_of(document, "errorCode")
    if number:
        if not number.isascii() or not number.isdecimal() or len(number) > 5:
            raise RemoteProtocolError(f"UPnP: {action} answered with an error that has no number")
        raise Fault(action, int(number), _readable(xml.text_of(document, "errorDescription")))
    if status != 200 or not any(path[-1] == f"{action}Response" for path, _ in document):
        raise RemoteProtocolError(f"UPnP: {action} was answered with HTTP status {status} and no answer to it")
    return xml.text_of(document, name) if name else ""


def _readable(text: str) -> str:
    """A router's words in a line of ours."""
    return "".join(each if each.isprintable() else " " for each in text[:80]).strip()
