"""The relay program: admission by a server's word or none, and what it serves, started in order and closed in reverse.

folders.relay   machine.key relay.key   this relay's identity towards server and clients
                server.json admitted    the server it enrolled with, and what that said last
                tls.crt tls.key         the certificate it made itself
                lock                    one relay at a time
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from ghostwire.capabilities.contexts import Sockets
from ghostwire.capabilities.relaying import Siblings
from ghostwire.config import Config
from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import GhostwireError, UsageError
from ghostwire.folders import Folders
from ghostwire.model import MapRelay
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection
from ghostwire.relay.identity import Identity
from ghostwire.relay.member import Member, Parts
from ghostwire.relay.relaying import LiveRelaying
from ghostwire.relay.serving import Serving
from ghostwire.relay.supervisor import Supervisor
from ghostwire.relay.tls import RelayTls, name_of
from ghostwire.system import loop
from ghostwire.system.clock import SystemClock
from ghostwire.system.lock import FileLock
from ghostwire.system.sockets import SystemSockets
from ghostwire.uplink.channel import connect
from ghostwire.uplink.control import Connect
from ghostwire.wire.jointoken import RELAY, JoinToken

IN_USE = "a relay is already running (pid {holder}); stop it, or pass --state for another"

log = logging.getLogger("ghostwire.relay")


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line adds to the configuration; ``announce`` prints a line for the person who started it.

    ``named`` are its --plugin words. ``local`` are the siblings named there, and the mesh key given there, which goes
    before the server's.
    """

    token: str | None = field(default=None, repr=False)
    named: tuple[str, ...] = ()
    local: Siblings = field(default_factory=Siblings)
    announce: Callable[[str], object] = print


class RelayProgram:
    """One relay of one state folder. `start` once, then it serves until `close`; ``ended`` fails once it has to stop.

    Clock, entropy and sockets are the operating system's unless given. With ``listen`` False no port is opened:
    ``serving.door.protocol_factory()`` then serves connections of another kind. With several workers ``serving`` is a
    `Supervisor`, and this process serves nobody itself.
    """

    def __init__(
        self,
        host: Host,
        config: Config,
        folders: Folders,
        order: Order,
        *,
        clock: Clock | None = None,
        entropy: Entropy = os.urandom,
        sockets: Sockets | None = None,
        connect: Connect = connect,
        listen: bool = True,
    ) -> None:
        self._host, self._configuration, self._folders, self._order = host, config, folders, order
        self._config = config.relay
        self._clock, self._entropy, self._sockets = clock or SystemClock(), entropy, sockets or SystemSockets()
        self._connect, self._listen = connect, listen
        self._closing = contextlib.AsyncExitStack()
        self._known = asyncio.Event()
        self._tls: RelayTls | None = None
        self._member: Member | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.relaying: LiveRelaying
        self.serving: Serving | Supervisor

    async def start(self) -> None:
        """Bring everything up; a GhostwireError says what can't be had, and nothing is left behind."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Take everything down; harmless when called twice."""
        await self._closing.aclose()
        self.ended.cancel()

    async def known(self) -> None:
        """Wait until it is known whom to serve; raises what `ended` fails with before that."""
        waiting = asyncio.ensure_future(self._known.wait())
        try:
            await asyncio.wait((waiting, self.ended), return_when=asyncio.FIRST_COMPLETED)
            if self.ended.done():
                self.ended.result()
        finally:
            waiting.cancel()

    @property
    def connected(self) -> bool:
        """Whether a session with the server is open."""
        return self._member is not None and self._member.connected

    @property
    def url(self) -> str:
        """Where nodes find this relay: by the server's word, else by what it listens on."""
        known = self._member.relay if self._member is not None else None
        name = known.host if known is not None else name_of(self._config.listen)
        port = known.port if known is not None else self.serving.port
        return f"{'https' if self._config.tls else 'http'}://{name}:{port}"

    @property
    def description(self) -> str:
        """URL and standing in one line."""
        known = self._member.relay if self._member is not None else None
        if known is not None:
            return f"{self.url}: {known.name}, in region {known.region_name}"
        return f"{self.url}: open to whoever comes"

    # What the member asks and tells

    def certificate(self) -> str:
        """The certificate's fingerprint, where clients go by that."""
        return self._tls.pin if self._tls is not None else ""

    def welcomed(self, relay: MapRelay) -> None:
        """Show a certificate for the host by which the mesh knows this relay, and tell the server of a new one."""
        if self._tls is not None and self._member is not None and self._tls.cover(relay.host):
            self.serving.certificate_changed()
            self._member.hurry()
        if self._tls is not None and self._tls.is_strange(relay.host):
            log.warning("the certificate is not for %s, as nodes know this relay: they will not accept it", relay.host)
        self._known.set()

    def stop(self, error: GhostwireError) -> None:
        """Have ``ended`` fail."""
        if not self.ended.done():
            self.ended.set_exception(error)

    async def _start(self) -> None:
        self._take_lock()
        identity = Identity(self._folders.relay, self._entropy)
        local = self._order.local
        self.relaying = LiveRelaying(identity.relay_key, everyone=self._config.open, siblings=local)
        if self._config.tls:
            self._tls = RelayTls(self._config, self._folders.relay, lambda: self._clock.wall() // SECOND)
        member = self._new_member(identity)
        self.serving = self._new_serving()
        await self.serving.start()
        self._closing.push_async_callback(self.serving.close)
        if member is None:
            log.warning("open: this relay serves whoever comes, without a mesh or a server")
            if pin := self.certificate():
                log.info("the SHA-256 of its certificate is %s", pin)
            self._known.set()
        else:
            self._begin(member)

    def _begin(self, member: Member) -> None:
        self._member = member
        member.start()
        self._closing.push_async_callback(member.close)
        if member.relay is not None:
            self._known.set()

    def _take_lock(self) -> None:
        lock = FileLock(self._folders.relay / "lock", IN_USE)
        lock.take()
        self._closing.callback(lock.release)

    def _new_member(self, identity: Identity) -> Member | None:
        token = parse_token(self._order.token)
        if self._config.open:
            if token is not None:
                raise UsageError("an open relay enrols with no server: leave out the join token, or --open")
            return None
        parts = Parts(
            identity=identity,
            relaying=self.relaying,
            sockets=self._sockets,
            clock=self._clock,
            entropy=self._entropy,
            connect=self._connect,
            tls=self._config.tls,
            log=log,
            local=self._order.local,
        )
        return Member(parts, self, token)

    def _new_serving(self) -> Serving | Supervisor:
        if self._config.workers > 1:
            return Supervisor(
                self._configuration,
                self._order.named,
                self._folders,
                self.relaying,
                clock=self._clock,
                entropy=self._entropy,
            )
        return Serving(
            self._host,
            self._config,
            self._folders,
            self.relaying,
            self._tls,
            clock=self._clock,
            entropy=self._entropy,
            sockets=self._sockets,
            listen=self._listen,
        )


def parse_token(text: str | None) -> JoinToken | None:
    """The join token for a relay in this text; UsageError where it is another kind or none."""
    if text is None:
        return None
    token = JoinToken.parse(text)
    if token.scheme != RELAY:
        raise UsageError("this join token is for nodes; on the server, gwctl relays create makes one for a relay")
    return token


async def run(host: Host, config: Config, folders: Folders, order: Order) -> None:
    """Run the relay until SIGTERM or SIGINT, then take everything down.

    Ends at once by the error that keeps it from serving, where waiting would not help.
    """
    stopped = asyncio.ensure_future(loop.stop_signal().wait())
    program = RelayProgram(host, config, folders, order)
    try:
        await program.start()
        ready = asyncio.ensure_future(_announce(program, order))
        await asyncio.wait((stopped, program.ended), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if program.ended.done():
            program.ended.result()
    finally:
        await program.close()
        stopped.cancel()


async def _announce(program: RelayProgram, order: Order) -> None:
    await program.known()
    order.announce(f"ghostwire relay ready at {program.description}")


def run_forever(selection: Selection, folders: Folders, order: Order) -> None:
    """`run` in an event loop of its own, with the relay's plugins."""
    host = Host.compose("relay", selection)
    with loop.runner() as runner:
        runner.run(run(host, selection.config, folders, order))
