"""The server's backup over the API: a stream of the file as it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from ghostwire import __version__
from ghostwire.capabilities.http import Routes
from ghostwire.capabilities.storage import Backup
from ghostwire.errors import PermissionDenied
from ghostwire.frontdoor.rest import route
from ghostwire.server.backup import files, writing
from ghostwire.server.backup.layout import FORMAT, SCHEMA, Archive, Header, without_keys

PATH = "/api/v1/backup"
MEDIA_TYPE = "application/gzip"


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``keys``: with the server's keys in it, for an administrator on the server's machine alone."""

    keys: bool = False


class BackupRoutes(Routes):
    """``take`` gives everything at one revision, ``folder`` is where the server's keys are, ``now`` Unix seconds."""

    name = "backup"

    def __init__(
        self, take: Callable[[], Awaitable[Backup]], folder: Path, domain: str, now: Callable[[], int]
    ) -> None:
        self._take, self._folder, self._domain, self._now = take, folder, domain, now

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """The backup."""
        return [
            route(
                PATH,
                self._backup,
                summary="Take backup",
                query=Wanted,
                safe=False,
                media_type=MEDIA_TYPE,
                answer=bytes,
                errors=(403,),
            )
        ]

    async def _backup(self, request: Request, wanted: Wanted) -> Any:
        keys = wanted.keys
        if keys and request.scope.get("state", {}).get("uid") is None:
            raise PermissionDenied("the server's keys leave it over its Unix socket alone; ask without keys=true")
        kept = files.kept(self._folder) if keys else {}
        backup = await self._take()
        archive = Archive(self._header(backup.revision), backup if keys else without_keys(backup), kept)
        headers = {"ETag": f'"{backup.revision}.{int(keys)}"'}
        return _Streamed(archive, headers)

    def _header(self, revision: int) -> Header:
        return Header(
            format=FORMAT,
            schema=SCHEMA,
            version=__version__,
            domain=self._domain,
            revision=revision,
            created=self._now(),
        )


class _Streamed(Response):
    """A backup, each piece made in a thread when the last one was sent; starlette's own would import a second event
    loop's library at the first one, on the loop."""

    def __init__(self, archive: Archive, headers: Mapping[str, str]) -> None:
        super().__init__(None, headers=headers, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._archive = archive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the last piece is empty."""
        pieces = writing.chunks(self._archive)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
