"""HTTP proxies: which one the environment names for a stream, and the way through it by CONNECT.

``HTTPS_PROXY`` is for streams with TLS, ``HTTP_PROXY`` for those without, ``ALL_PROXY`` for both where these are
missing; ``NO_PROXY`` lists names and suffixes to reach directly. Lower case wins. This machine itself is never reached
through a proxy. User and password in a proxy's URL are shown to that proxy alone.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import cast
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from ghostwire.errors import Unavailable

MAX_HEAD = 16 * 1024
ANSWER_TIMEOUT = 10.0
"""Seconds that a proxy has to reach the other side and say so."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. ``tls``: it is spoken to by TLS itself; ``source`` is the variable that names it."""

    host: str
    port: int
    tls: bool
    source: str
    credentials: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {authority(self.host, self.port)} of {self.source}"


def proxy_for(host: str, *, tls: bool, name: str = "") -> Proxy | None:
    """The proxy for a stream to ``host``, which may also be known by ``name``; None for none.

    Unavailable where the environment names one that makes no sense.
    """
    if not any(variable.lower().endswith("_proxy") for variable in os.environ):
        return None
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined] # 30 ms

    proxies = getproxies_environment()
    source = next((kind for kind in ("https" if tls else "http", "all") if kind in proxies), None)
    if source is None or _is_this_machine(host):
        return None
    if any(proxy_bypass_environment(known, proxies) for known in {host, name or host}):
        return None
    return _parse(proxies[source], f"{source.upper()}_PROXY")


def authority(host: str, port: int) -> str:
    """``host:port``, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _parse(url: str, source: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        default = _PORTS[parts.scheme]
        host, port = parts.hostname or "", parts.port or default
    except (ValueError, KeyError):
        host = ""
    if not host:
        raise Unavailable(f"{source} names no HTTP proxy: set it to http://HOST:PORT, or unset it") from None
    return Proxy(host, port, parts.scheme == "https", source, _credentials(parts))


def _credentials(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return b64encode(pair.encode()).decode("ascii")


class Holding(asyncio.Protocol):
    """Holds what arrives until the stream's own protocol is there: ``rest``; ``lost`` if the stream ended before."""

    def __init__(self) -> None:
        self.rest = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.rest += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Over already."""
        self.lost = True


class Asking(Holding):
    """Asks a proxy for a connection, and holds what comes from behind it once there is its `consent`."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        super().__init__()
        self._proxy, self._target = proxy, authority(host, port)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = self._head()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """The answer's head, then whatever the other side says of itself."""
        if self._granted.done():
            return super().data_received(data)
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._http.next_event()
        except h11.RemoteProtocolError:
            return self._fail("does not speak HTTP")
        return self._answered(event.status_code) if isinstance(event, h11.Response) else None

    def connection_lost(self, exc: Exception | None) -> None:
        """No answer, or a connection that ended at once."""
        super().connection_lost(exc)
        self._fail("hung up without an answer")

    async def consent(self) -> None:
        """Wait for the proxy's; Unavailable says why there is none."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._granted
        except TimeoutError:
            raise self.refusal(f"did not answer within {ANSWER_TIMEOUT:g} s") from None

    def _head(self) -> bytes:
        headers = [("Host", self._target)]
        if self._proxy.credentials:
            headers.append(("Proxy-Authorization", f"Basic {self._proxy.credentials}"))
        try:
            return self._http.send(h11.Request(method="CONNECT", target=self._target, headers=headers)) or b""
        except (h11.LocalProtocolError, UnicodeError):
            raise self.refusal("can't be asked for such a name") from None

    def _answered(self, status: int) -> None:
        if 200 <= status < 300:
            self.rest = self._http.trailing_data[0]
            self._granted.set_result(None)
        elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            known = "does not accept the user and password" if self._proxy.credentials else "wants a user and password"
            self._fail(f"{known}; set {self._proxy.source} to http://USER:PASSWORD@HOST:PORT")
        else:
            self._fail(f"answered {status} {_phrase(status)}".rstrip())

    def _fail(self, why: str) -> None:
        if not self._granted.done():
            self._granted.set_exception(self.refusal(why))
            self._granted.exception()  # whoever was waiting may have left

    def refusal(self, why: str) -> Unavailable:
        """That the proxy is the reason."""
        return Unavailable(f"{self._target}: {self._proxy} {why}")


def _phrase(status: int) -> str:
    """The standard's own words: a proxy's may hold anything."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
