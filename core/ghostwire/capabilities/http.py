"""What stands behind the front door: routes for HTTP, upgrades for raw streams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import asyncio

    from starlette.routing import BaseRoute


class RequestHead(msgspec.Struct, frozen=True):
    """A request's head. Header names are lower case; ``client`` is the remote address."""

    method: str
    target: str
    headers: Mapping[str, str]
    client: str


class StreamUpgrade(ABC):
    """Takes over a connection after an HTTP Upgrade; ``token`` is compared in lower case."""

    token: str

    @abstractmethod
    def take(self, head: RequestHead, transport: asyncio.Transport, rest: bytes) -> None:
        """Answer the request (or refuse it) and own the transport from now on, by ``transport.set_protocol``.

        ``rest`` is what arrived after the head.
        """


class Routes(ABC):
    """Starlette routes; ``admin`` ones are served only to authenticated administrators.

    With ``http2`` the program's port speaks HTTP/2 beside HTTP/1.1, for these routes and all others.
    """

    name: str
    http2: bool = False

    @abstractmethod
    def public(self) -> Sequence[BaseRoute]:
        """Routes that anyone may call."""

    @abstractmethod
    def admin(self) -> Sequence[BaseRoute]:
        """Routes under ``/api/v1`` for administrators."""
