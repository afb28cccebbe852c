"""A client of the gRPC API that knows the .proto files alone: stubs made of them at test time, keys and proofs by the
standard library and cryptography. Nothing of GhostWire is imported."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTOS = Path(__file__).parents[2] / "plugins" / "api_grpc"
FILES = ["ghostwire_api_grpc/control.proto", "ghostwire_api_grpc/admin.proto"]
PACKAGE = "ghostwire.v1"
PATIENCE = 30.0


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """All messages and services of the .proto files, compiled now."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/all"
        assert protoc.main(["protoc", f"-I{PROTOS}", f"--descriptor_set_out={out}", *FILES]) == 0
        found = descriptor_pb2.FileDescriptorSet.FromString(Path(out).read_bytes())
    made = descriptor_pool.DescriptorPool()
    for file in found.file:
        made.Add(file)
    return made


def kind(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


class Stub:
    """The methods of one service, each as a callable of the request's fields."""

    def __init__(self, channel: grpc.aio.Channel, service: str, token: str = "") -> None:
        self._channel, self._service, self._token = channel, service, token
        self._methods = pool().FindServiceByName(f"{PACKAGE}.{service}").methods_by_name

    def __getattr__(self, name: str) -> Any:
        method = self._methods[name]
        streaming = method.server_streaming
        make = self._channel.unary_stream if streaming else self._channel.unary_unary
        call = make(
            f"/{PACKAGE}.{self._service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind(method.output_type.name).FromString,
        )
        metadata = [("authorization", f"Bearer {self._token}")] if self._token else []

        def ask(request: Any = None, **fields: Any) -> Any:
            message = request if request is not None else kind(method.input_type.name)(**fields)
            return call(message, metadata=metadata, timeout=None if streaming else PATIENCE)

        return ask

    def with_token(self, token: str) -> Stub:
        return Stub(self._channel, self._service, token)


class Token:
    """What a join token holds."""

    def __init__(self, text: str) -> None:
        assert text.startswith("gwjoin-")
        body = text.removeprefix("gwjoin-")
        found = msgspec.msgpack.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        self.secret, self.control_key = found["secret"], found["control_key"]
        self.scheme = found.get("scheme", "auth_key")


class Key:
    """An X25519 key pair."""

    def __init__(self) -> None:
        self.raw = os.urandom(32)
        self._private = X25519PrivateKey.from_private_bytes(self.raw)
        self.public = self._private.public_key().public_bytes_raw()

    def shared(self, other: bytes) -> bytes:
        return self._private.exchange(X25519PublicKey.from_public_bytes(other))


def keyed(secret: bytes, text: bytes) -> bytes:
    return hashlib.blake2s(text, key=secret).digest()


class Server:
    """Where a server is, and its certificate as it shows it to us."""

    def __init__(self, port: int, tls: bool = True) -> None:
        self.port, self.tls = port, tls
        self.certificate = ssl.get_server_certificate(("127.0.0.1", port)).encode() if tls else b""

    @property
    def binding(self) -> bytes:
        if not self.tls:
            return bytes(32)
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.decode())).digest()

    def channel(self) -> grpc.aio.Channel:
        target, options = f"127.0.0.1:{self.port}", [("grpc.enable_http_proxy", 0)]
        if not self.tls:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self.certificate), options)


class Machine:
    """A machine with its keys; ``map`` is what it was told, ``told`` each message of Watch as it came."""

    def __init__(self, server: Server, control_key: bytes, name: str) -> None:
        self.server, self.control_key, self.name = server, control_key, name
        self.machine, self.node, self.disco = Key(), Key(), Key()
        self.channel = server.channel()
        self.control = Stub(self.channel, "Control")
        self.map = Map()
        self.told: list[Any] = []
        self.id = 0
        self.session = ""
        self._news = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None
        self.ended: grpc.aio.AioRpcError | None = None

    def moved(self, server: Server) -> None:
        """The server is there now."""
        self.server, self.channel, self.ended = server, server.channel(), None
        self.control = Stub(self.channel, "Control")

    async def prove(self) -> dict[str, bytes]:
        """A challenge's answer: the server's proof is checked first."""
        fresh = Key()
        given = await self.control.Challenge(client_key=fresh.public)
        text = b"GhostWire challenge v1" + self.control_key + fresh.public + given.challenge + self.server.binding
        h = hashlib.blake2s(text).digest()
        expected = keyed(fresh.shared(self.control_key), b"GhostWire challenge server v1" + h)
        assert hmac.compare_digest(expected, given.server_proof), "not the server"
        labelled = {"machine": self.machine, "node": self.node}
        proofs = {
            f"{name}_proof": keyed(
                key.shared(given.challenge), f"GhostWire challenge {name} v1".encode() + h + key.public
            )
            for name, key in labelled.items()
        }
        return {"challenge_id": given.id, **proofs}

    async def request(self, **changed: Any) -> Any:
        """An EnrolRequest with right proofs."""
        keys = {"machine_key": self.machine.public, "node_key": self.node.public, "disco_key": self.disco.public}
        host = {"hostname": self.name, "os": "linux", "version": "test"}
        return kind("EnrolRequest")(**{**await self.prove(), **keys, "protocol": 2, "host": host, **changed})

    async def enrol(self, secret: str = "", **changed: Any) -> Any:
        """Be let in."""
        if secret:
            changed["credentials"] = {"scheme": "auth_key", "secret": secret}
        if self.map.cursor is not None:
            changed["cursor"] = self.map.cursor
        welcome = await self.control.Enrol(await self.request(**changed))
        self.session, self.id = welcome.session, welcome.node.id
        self.control = self.control.with_token(welcome.session)
        return welcome

    def watch(self) -> None:
        """Read what the server tells, from now on."""
        self._reading = asyncio.get_running_loop().create_task(self._read(self.control.Watch()))

    async def join(self, secret: str = "") -> Any:
        welcome = await self.enrol(secret)
        self.watch()
        return welcome

    async def until(self, holds: Any) -> None:
        """Wait until this holds of the machine."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: holds(self))

    async def hang_up(self) -> None:
        """End the watching."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def close(self) -> None:
        await self.hang_up()
        await self.channel.close()

    async def _read(self, call: Any) -> None:
        try:
            async for message in call:
                await self._take(message)
        except grpc.aio.AioRpcError as error:
            self.ended = error
        async with self._news:
            self._news.notify_all()

    async def _take(self, message: Any) -> None:
        if message.WhichOneof("told") == "map":
            self.map.apply(message.map)
        async with self._news:
            self.told.append(message)
            self._news.notify_all()

    @property
    def changes(self) -> list[Any]:
        return [each.map for each in self.told if each.WhichOneof("told") == "map"]


class Map:
    """A network map, as control.proto says how to apply changes."""

    def __init__(self) -> None:
        self.cursor: Any = None
        self.nodes: dict[int, Any] = {}
        self.rules: dict[int, Any] = {}
        self.sets: dict[int, Any] = {}
        self.routes: dict[int, Any] = {}
        self.relays: dict[int, Any] = {}
        self.own_labels: set[int] = set()

    def apply(self, change: Any) -> None:
        if change.full:
            self.__init__()  # type: ignore[misc]
        if change.HasField("visible"):
            seen = set(change.visible.ids)
            self.nodes = {id_: node for id_, node in self.nodes.items() if id_ in seen}
            self.rules, self.sets, self.routes, self.relays = {}, {}, {}, {}
        for name in ("nodes", "rules", "sets", "routes", "relays"):
            held = getattr(self, name)
            for id_ in getattr(change, f"removed_{name}"):
                held.pop(id_, None)
            held.update({item.id: item for item in getattr(change, name)})
        for held in self.sets.values():
            self._set(held, [], change.removed_nodes)
        for home in change.homes:
            if home.node in self.nodes:
                node = self.nodes[home.node]
                node.ClearField("home") if not home.HasField("region") else setattr(node, "home", home.region)
        for each in change.set_changes:
            if each.id in self.sets:
                self._set(self.sets[each.id], each.added, each.removed)
        if change.HasField("own_labels"):
            self.own_labels = set(change.own_labels.ids)
        view = self.cursor.view if self.cursor is not None else 0
        self.cursor = change.cursor
        self.cursor.view = self.cursor.view or view

    def _set(self, held: Any, added: Any, removed: Any) -> None:
        nodes = sorted((set(held.nodes) | set(added)) - set(removed))
        del held.nodes[:]
        held.nodes.extend(nodes)
