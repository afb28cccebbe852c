"""The machine's own sockets, with what the system refuses said in one line."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

from ghostwire.capabilities.contexts import Listening, Sockets
from ghostwire.errors import PermissionDenied, PlatformError, Unavailable
from ghostwire.system.delivery import deliver
from ghostwire.system.names import Resolver
from ghostwire.system.proxy import Asking, Holding, Proxy, proxy_for
from ghostwire.system.remembered import Remembered
from ghostwire.system.tls import system_roots

P = TypeVar("P", bound=asyncio.BaseProtocol)
Refusal = Callable[[str], str]
Lookup = Callable[[str], Awaitable[Sequence[str]]]


def set_mark(target: socket.socket, mark: int) -> None:
    """Let the packets of this socket carry the mark, where the system has marks and lets us (CAP_NET_ADMIN)."""
    if mark and hasattr(socket, "SO_MARK"):
        with suppress(OSError):
            target.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


class SystemSockets(Sockets):
    """Sockets of this machine, each with ``mark`` where we may set one (0: none).

    ``resolve`` gives a host's addresses (see `Resolver`). Its questions are the system's, on sockets without a mark:
    they go where routes lead, with an exit node in use through that. ``remembered`` holds the last answers.
    """

    def __init__(self, mark: int = 0, remembered: Remembered | None = None) -> None:
        self.resolve, self._mark = Resolver(remembered), mark

    def udp(self, host: str, port: int) -> socket.socket:
        """A bound, non-blocking UDP socket of the host's family; an IPv6 one takes IPv6 alone."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise PlatformError(f"no UDP socket for {host}: {error.strerror}") from error
        try:
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            set_mark(made, self._mark)
            made.bind((host, port))
        except OSError as error:
            made.close()
            raise _refusal(host, port, error) from error
        return made

    async def connect(
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> tuple[asyncio.Transport, P]:
        """A stream to that host, through the proxy that the environment names for it, if any."""
        proxy = proxy_for(host, tls=tls is not None, name=server_name)
        name = (server_name or host) if tls else None
        if proxy is None:
            with _one_line(f"{host}:{port}"):
                return await self._open(protocol, host, port, tls, name)
        return await self._through(proxy, protocol, host, port, tls, name)

    async def bare(
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        *,
        secure: bool = False,
        server_name: str = "",
        refusal: Refusal = lambda address: "",
    ) -> tuple[asyncio.Transport, P]:
        """The same without TLS, for who is not trusted; ``secure`` chooses the proxy."""
        if why := refusal(host):
            raise Unavailable(f"{host}:{port}: {why}")
        proxy = proxy_for(host, tls=secure, name=server_name)
        if proxy is not None:
            return await self._through(proxy, protocol, host, port, None, None)
        with _one_line(f"{host}:{port}"):
            return await self._open(protocol, host, port, None, None, refusal, self.resolve.once)

    async def _through(
        self,
        proxy: Proxy,
        protocol: Callable[[], P],
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        name: str | None,
    ) -> tuple[asyncio.Transport, P]:
        """A stream that a proxy consents to."""
        asking = Asking(proxy, host, port)
        with _one_line(str(proxy)):
            transport, _ = await self._to_proxy(proxy, asking)
        try:
            with _one_line(f"{host}:{port}: through {proxy}"):
                return await _beyond(transport, asking, protocol(), tls, name)
        except BaseException:
            transport.abort()
            raise

    async def listen(
        self, protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> Listening:
        """Accept streams at this address, each with a protocol of its own."""
        try:
            server = await asyncio.get_running_loop().create_server(protocol, host, port, ssl=tls)
        except OSError as error:
            raise _refusal(host, port, error, "TCP") from error
        for each in server.sockets:
            with socket.socket(fileno=os.dup(each.fileno())) as listening:
                set_mark(listening, self._mark)
        return _Door(server)

    async def _open(
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        name: str | None,
        refusal: Refusal = lambda address: "",
        resolve: Lookup | None = None,
    ) -> tuple[asyncio.Transport, P]:
        """At the first of the host's addresses that answers, and that is not refused."""
        errors = list[OSError]()
        for address in await (resolve or self.resolve)(host):
            try:
                if why := refusal(address):
                    raise OSError(errno.EACCES, f"{address} {why}")
                made = await self._connected(address, port)
                return await asyncio.get_running_loop().create_connection(
                    protocol, sock=made, ssl=tls, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                errors.append(error)
        raise errors[0] if errors else OSError("it has no address")

    async def _connected(self, address: str, port: int) -> socket.socket:
        """A stream's socket, marked before its first packet."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            set_mark(made, self._mark)
            await asyncio.get_running_loop().sock_connect(made, _target(address, port))
        except BaseException:
            made.close()
            raise
        return made

    async def _to_proxy(self, proxy: Proxy, asking: Asking) -> tuple[asyncio.Transport, Asking]:
        tls = system_roots() if proxy.tls else None
        try:
            return await self._open(lambda: asking, proxy.host, proxy.port, tls, proxy.host if tls else None)
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason
            raise Unavailable(f"{proxy}: no TLS with it ({reason})") from None


def _target(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """An address as a socket takes it, a link-local one with its interface."""
    plain, _, zone = address.partition("%")
    if not zone:
        return plain, port
    return plain, port, 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)


class _Door:
    """A listening server of asyncio's."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.port: int = server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Accept no more."""
        self._server.close()


async def _beyond(
    transport: asyncio.Transport, asking: Asking, made: P, tls: ssl.SSLContext | None, name: str | None
) -> tuple[asyncio.Transport, P]:
    """The stream itself, once the proxy has consented: with TLS of its own if there is to be any."""
    await asking.consent()
    holding: Holding = asking
    if tls is not None:
        if asking.rest:
            raise asking.refusal("sent bytes of its own")
        holding = Holding()
        secured = await asyncio.get_running_loop().start_tls(transport, holding, tls, server_hostname=name)
        transport = cast("asyncio.Transport", secured)
    if holding.lost:
        raise ConnectionResetError("closed at once")
    transport.set_protocol(made)
    made.connection_made(transport)
    if holding.rest:
        deliver(made, holding.rest)
    return transport, made


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """What the system refuses, as an error for people; TLS's own verdicts pass."""
    try:
        yield
    except ssl.SSLError:
        raise
    except OSError as error:
        raise Unavailable(f"{what}: {_reason(error)}") from error
    except ValueError as error:
        raise Unavailable(f"{what}: not the name of a host ({error})") from error


def _refusal(host: str, port: int, error: OSError, kind: str = "UDP") -> Exception:
    if error.errno == errno.EADDRINUSE:
        return PlatformError(f"{kind} port {port} is in use; stop the program that has it, or choose another port")
    if error.errno == errno.EACCES:
        return PermissionDenied(f"{kind} port {port} may not be opened; run as root or choose a port above 1023")
    return PlatformError(f"{kind} {host} port {port}: {error.strerror}")


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error)
