"""Every hook there is.

A hook is a noun and a plain function without arguments. It runs once, while the program is composed, and yields named
records; what is async lives on the objects that the records create.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ghostwire import (
        Authenticator,
        Command,
        Platform,
        PolicyEngine,
        Provider,
        Resolver,
        Routes,
        Service,
        Storage,
        StreamUpgrade,
        Telemetry,
        Transport,
        Tunnel,
    )

ASKED_BY: dict[str, tuple[str, ...]] = {
    "ghostwire_transports": ("node",),
    "ghostwire_tunnels": ("node",),
    "ghostwire_platforms": ("node",),
    "ghostwire_authenticators": ("server",),
    "ghostwire_storages": ("server",),
    "ghostwire_resolvers": ("node",),
    "ghostwire_policies": ("server",),
    "ghostwire_telemetry": ("server", "node", "relay"),
    "ghostwire_services": ("server", "node", "relay"),
    "ghostwire_upgrades": ("server", "relay"),
    "ghostwire_routes": ("server", "relay"),
    "ghostwire_commands": ("ctl",),
}
"""The roles whose program runs each hook."""


def asked_by(role: str) -> tuple[str, ...]:
    """The hooks that a program of this role runs."""
    return tuple(hook for hook, roles in ASKED_BY.items() if role in roles)


def ghostwire_transports() -> Iterable[Provider[Transport]]:
    """Ways of carrying sealed datagrams to peers, preferred by rank. Asked by: node.

    from ghostwire import Path, Provider, Transport, hookimpl

    class PigeonPath(Path):
        transport, relayed = "pigeon", False

        def __init__(self, loft):
            self.endpoint = loft

        def send(self, datagrams):
            return False  # no pigeon at home: dropped

    class PigeonTransport(Transport):
        name = "pigeon"

        def __init__(self, context):
            self.log = context.log

        async def start(self, receive):
            self.receive = receive

        def endpoints(self):
            return ["loft-7"]

        def path(self, endpoint):
            return PigeonPath(endpoint)

        async def close(self):
            self.receive = None

    @hookimpl
    def ghostwire_transports():
        yield Provider("pigeon", PigeonTransport, rank=50)
    """
    return ()


def ghostwire_tunnels() -> Iterable[Provider[Tunnel]]:
    """End-to-end encryption between the device and the paths; always trusted like core. Asked by: node.

    from ghostwire import Provider, Tunnel, hookimpl

    class DarkTunnel(Tunnel):
        name = "dark"

        def __init__(self, context):
            self.device, self.peers = context.device, ()

        async def start(self):
            self.device.start(lambda packets: None)

        def apply(self, peers):
            self.peers = tuple(peers)

        def attach(self, peer, paths):
            pass

        def receive(self, source, datagrams):
            pass

        def stats(self):
            return ()

        async def close(self):
            self.apply(())

    @hookimpl
    def ghostwire_tunnels():
        yield Provider("dark", DarkTunnel)
    """
    return ()


def ghostwire_platforms() -> Iterable[Provider[Platform]]:
    """This operating system's TUN device, addresses, routes and link changes. Asked by: node.

    from ghostwire import Platform, Provider, hookimpl
    from ghostwire.errors import PlatformError

    class NoPlatform(Platform):
        name = "none"

        def __init__(self, context):
            pass

        async def open_device(self, name, mtu):
            raise PlatformError("this machine has no network devices")

        async def configure(self, network):
            pass

        async def restore(self):
            pass

        def local_addresses(self):
            return ()

        def watch_links(self, changed):
            return lambda: None

    @hookimpl
    def ghostwire_platforms():
        yield Provider("none", NoPlatform)
    """
    return ()


def ghostwire_authenticators() -> Iterable[Provider[Authenticator]]:
    """Schemes by which machines prove their right to join. Asked by: server.

    from ghostwire import Admission, Authenticator, Provider, hookimpl
    from ghostwire.errors import AuthenticationFailed
    from ghostwire.keys import equal

    class PasswordAuthenticator(Authenticator):
        name = "password"

        def __init__(self, context):
            pass

        def admit(self, transaction, request):
            expected = transaction.setting("password") or ""
            if not expected or not equal(request.secret.encode(), expected.encode()):
                raise AuthenticationFailed("wrong password; ask the operator for the current one")
            return Admission(user=1)

    @hookimpl
    def ghostwire_authenticators():
        yield Provider("password", PasswordAuthenticator)
    """
    return ()


def ghostwire_storages() -> Iterable[Provider[Storage]]:
    """Durable stores of the server's records; ``storage`` under ``[server]`` names the one to use. Asked by: server.

    from ghostwire import Provider, Storage, hookimpl
    from ghostwire.errors import StateError

    class LostStorage(Storage):
        def __init__(self, context):
            self.folder = context.state

        async def open(self, committed):
            raise StateError(f"{self.folder}: this storage forgets everything")

        async def write(self, work):
            raise StateError("not open")

        async def log(self, after):
            return None

        async def mark(self, revision):
            return None

        async def compact(self, before):
            pass

        async def close(self):
            pass

    @hookimpl
    def ghostwire_storages():
        yield Provider("lost", LostStorage)
    """
    return ()


def ghostwire_resolvers() -> Iterable[Provider[Resolver]]:
    """Answers to DNS questions inside the mesh, asked by rank until one answers. Asked by: node.

    from ghostwire import Provider, Resolver, hookimpl

    class RefusingResolver(Resolver):
        name = "refusing"

        def __init__(self, context):
            pass

        async def resolve(self, query):
            if len(query) < 12:
                return None
            return query[:2] + bytes([query[2] | 0x80, 5]) + query[4:]

    @hookimpl
    def ghostwire_resolvers():
        yield Provider("refusing", RefusingResolver, rank=900)
    """
    return ()


def ghostwire_policies() -> Iterable[Provider[PolicyEngine]]:
    """Who may reach what: a policy's text into rules between selectors, which pick nodes. Asked by: server.

    from ghostwire import CompiledPolicy, PolicyEngine, PolicyRule, Provider, hookimpl
    from ghostwire.capabilities.policy import EVERYONE
    from ghostwire.errors import Finding, PolicyError

    class WebPolicy(CompiledPolicy):
        rules = [PolicyRule(sources=(EVERYONE,), destinations=("tag:web",), protocols=(6,), ports=((443, 443),))]

        def selectors(self, node):
            return [EVERYONE, *("tag:web" for tag in node.tags if tag == "tag:web")]

    class WebEngine(PolicyEngine):
        name = "web"

        def __init__(self, context):
            pass

        def compile(self, source):
            if source.strip() != "web":
                raise PolicyError([Finding(1, 1, "a policy is one word: web")])
            return WebPolicy()

    @hookimpl
    def ghostwire_policies():
        yield Provider("web", WebEngine)
    """
    return ()


def ghostwire_telemetry() -> Iterable[Provider[Telemetry]]:
    """Exporters of metrics, traces or logs. Asked by: server, node, relay.

    from ghostwire import Provider, Telemetry, hookimpl

    class LogTelemetry(Telemetry):
        name = "log"

        def __init__(self, context):
            self.log, self.metrics = context.log, None

        async def start(self, metrics):
            self.metrics = metrics

        async def close(self):
            if self.metrics is not None:
                self.log.info("last values: %s", self.metrics.values())

    @hookimpl
    def ghostwire_telemetry():
        yield Provider("log", LogTelemetry)
    """
    return ()


def ghostwire_services() -> Iterable[Provider[Service]]:
    """Any further listener or task, started after the core. Asked by: server, node, relay.

    import asyncio

    from ghostwire import Provider, Service, hookimpl

    class Heartbeat(Service):
        name = "heartbeat"

        def __init__(self, context):
            self.log, self.task = context.log, None

        async def start(self):
            self.task = asyncio.create_task(self.beat())

        async def beat(self):
            while True:
                self.log.debug("alive")
                await asyncio.sleep(60)

        async def close(self):
            if self.task is not None:
                self.task.cancel()

    @hookimpl
    def ghostwire_services():
        yield Provider("heartbeat", Heartbeat)
    """
    return ()


def ghostwire_upgrades() -> Iterable[Provider[StreamUpgrade]]:
    """Protocols that take over a raw stream after an HTTP Upgrade. Asked by: server, relay.

    import asyncio

    from ghostwire import Provider, StreamUpgrade, hookimpl

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    class EchoUpgrade(StreamUpgrade):
        token = "echo"

        def __init__(self, context):
            pass

        def take(self, head, transport, rest):
            transport.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: echo\\r\\nConnection: Upgrade\\r\\n\\r\\n")
            echo = Echo()
            transport.set_protocol(echo)
            echo.connection_made(transport)
            echo.data_received(rest)

    @hookimpl
    def ghostwire_upgrades():
        yield Provider("echo", EchoUpgrade)
    """
    return ()


def ghostwire_routes() -> Iterable[Provider[Routes]]:
    """HTTP routes, for anyone or for administrators. Asked by: server, relay.

    from ghostwire import Provider, Routes, hookimpl

    class MottoRoutes(Routes):
        name = "motto"

        def __init__(self, context):
            self.motto = "every capability is a plugin"

        def public(self):
            from starlette.responses import PlainTextResponse
            from starlette.routing import Route

            return [Route("/motto", lambda request: PlainTextResponse(self.motto))]

        def admin(self):
            return []

    @hookimpl
    def ghostwire_routes():
        yield Provider("motto", MottoRoutes)
    """
    return ()


def ghostwire_commands() -> Iterable[Command]:
    """Subcommands of ``ghostwire`` and ``gwctl``, imported when they are used. Asked by: ctl.

    from ghostwire import Command, hookimpl

    def load_whisper():
        import click

        @click.command()
        @click.argument("text")
        def whisper(text):
            \"\"\"Say it quietly.\"\"\"
            click.echo(text.lower())

        return whisper

    @hookimpl
    def ghostwire_commands():
        yield Command("gwctl", "whisper", load_whisper, help="Say it quietly.")
    """
    return ()
