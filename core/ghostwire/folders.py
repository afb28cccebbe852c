"""Where state and sockets live: the system's folders for root, XDG's for others, one folder for both with --state."""

from __future__ import annotations

import os
from pathlib import Path

from ghostwire.errors import PermissionDenied, StateError

SYSTEM_STATE = Path("/var/lib/ghostwire")
SYSTEM_RUN = Path("/run/ghostwire")


class Folders:
    """The folders of one instance.

    A program that serves makes what it asks for. One that only talks to it (``client``) makes nothing, and finds the
    system's socket where its user has none of his own.
    """

    def __init__(self, state: Path | None = None, *, client: bool = False) -> None:
        self.given, self._client = state, client
        self.state = state if state is not None else _default_state()
        self._run = state / "run" if state is not None else _default_run(self.state)

    @property
    def server(self) -> Path:
        """The server's state, private to its user."""
        return self._private("server")

    @property
    def node(self) -> Path:
        """The node's state, private to its user."""
        return self._private("node")

    @property
    def relay(self) -> Path:
        """The relay's state, private to its user."""
        return self._private("relay")

    @property
    def run(self) -> Path:
        """Where sockets are: others may pass through it, each socket guards itself."""
        if not self._client:
            make_folder(self._run, 0o755)
        return self._run

    @property
    def server_socket(self) -> Path:
        """The server's local API."""
        return self._socket("server.sock")

    @property
    def node_socket(self) -> Path:
        """The node daemon's local API."""
        return self._socket("node.sock")

    def _private(self, name: str) -> Path:
        make_folder(self.state, 0o755)
        return make_folder(self.state / name, 0o700)

    def _socket(self, name: str) -> Path:
        own = self.run / name
        system = SYSTEM_RUN / name
        return system if self._client and self.given is None and not own.exists() and system.exists() else own


def make_folder(path: Path, mode: int) -> Path:
    """Make the folder with its parents; a private one (0o700) that others may enter is closed to them."""
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=mode, exist_ok=True)
            path.chmod(mode)
        elif mode == 0o700 and path.stat().st_mode & 0o077:
            path.chmod(mode)
    except PermissionError:
        raise PermissionDenied(f"{path}: cannot make this folder; run as root or pass --state DIR") from None
    except FileExistsError:
        raise StateError(f"{path}: is not a folder; move it away or pass --state DIR") from None
    except OSError as error:
        raise StateError(f"{path}: cannot make this folder: {error.strerror}; pass --state DIR") from None
    return path


def _default_state() -> Path:
    if os.geteuid() == 0:
        return SYSTEM_STATE
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ghostwire"


def _default_run(state: Path) -> Path:
    if os.geteuid() == 0:
        return SYSTEM_RUN
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "ghostwire" if runtime else state / "run"
