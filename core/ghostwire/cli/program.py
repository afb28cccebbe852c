"""What every command finds in ``ctx.obj``: configuration, folders, and the plugins of a role; and where it logs."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ghostwire.folders import Folders

if TYPE_CHECKING:
    from ghostwire.config import Config
    from ghostwire.plugins.host import Host
    from ghostwire.plugins.selection import Selection

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr() -> None:
    """One line an event; what libraries say only from warnings on."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    for library in ("uvicorn", "asyncio", "alembic", "sqlalchemy"):
        logging.getLogger(library).setLevel(logging.WARNING)


class Program:
    """One run of `ghostwire` or `gwctl`; all is read when it is first asked for.

    ``named`` are the command line's ``--plugin`` words. A ``client`` talks to running programs and makes no folders.
    """

    def __init__(
        self, file: Path | None = None, state: Path | None = None, named: tuple[str, ...] = (), *, client: bool = False
    ) -> None:
        self.file, self.named, self.client = file, named, client
        self.folders = Folders(state, client=client)
        self._hosts: dict[str, Host] = {}

    @cached_property
    def config(self) -> Config:
        """ghostwire.toml; a client that may not read the system's file goes by the defaults."""
        from ghostwire import config
        from ghostwire.errors import PermissionDenied

        try:
            return config.load(self.file)
        except PermissionDenied:
            if self.client and self.file is None:
                return config.Config()
            raise

    @property
    def selection(self) -> Selection:
        """What file and command line say about plugins."""
        from ghostwire.plugins.selection import Selection

        return Selection(self.config, self.named)

    def host(self, role: str) -> Host:
        """The plugins of this role, composed once."""
        from ghostwire.plugins.host import Host

        if role not in self._hosts:
            self._hosts[role] = Host.compose(role, self.selection)
        return self._hosts[role]
