"""The server's backup over the API: a stream of the file as it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute

from ghostwire import __version__
from ghostwire.capabilities.http import Routes
from ghostwire.capabilities.storage import Backup
from ghostwire.errors import PermissionDenied
from ghostwire.frontdoor.rest import route
from ghostwire.server.backup import files, writing
from ghostwire.server.backup.layout import FORMAT, SCHEMA, Archive, Header, without_keys

PATH = "/api/v1/backup"
MEDIA_TYPE = "application/gzip"


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
        return [route(PATH, self._backup)]

    async def _backup(self, request: Request) -> Any:
        """``?keys=true`` puts the server's keys into it, for an administrator on the server's machine alone.

        Made in threads, a piece at a time and no sooner than it can be sent: the loop goes on meanwhile.
        """
        keys = request.query_params.get("keys") == "true"
        if keys and request.scope.get("state", {}).get("uid") is None:
            raise PermissionDenied("the server's keys leave it over its Unix socket alone; ask without keys=true")
        kept = files.kept(self._folder) if keys else {}
        backup = await self._take()
        archive = Archive(self._header(backup.revision), backup if keys else without_keys(backup), kept)
        headers = {"ETag": f'"{backup.revision}.{int(keys)}"'}
        return StreamingResponse(writing.chunks(archive), media_type=MEDIA_TYPE, headers=headers)

    def _header(self, revision: int) -> Header:
        return Header(
            format=FORMAT,
            schema=SCHEMA,
            version=__version__,
            domain=self._domain,
            revision=revision,
            created=self._now(),
        )
