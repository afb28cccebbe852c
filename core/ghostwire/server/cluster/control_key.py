"""One control key per mesh: nodes know their server by it, so that all servers of a database have the same."""

from __future__ import annotations

from pathlib import Path

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import StateError
from ghostwire.keys import ControlKey, PrivateKey, load_or_create_private_key
from ghostwire.server.mesh import LiveMesh

SETTING = "control-key"
"""Where the database keeps its public half."""


async def claim(mesh: LiveMesh, path: Path) -> PrivateKey:
    """The key in that file, which the mesh's first server makes; StateError where it is not the mesh's."""
    held = await mesh.write(lambda transaction: transaction.setting(SETTING))
    if held and not path.exists():  # noqa: ASYNC240 (at the start, before anybody is served)
        raise _other(path, "there is none here yet")
    private = load_or_create_private_key(path)
    public = str(private.public(ControlKey))

    def work(transaction: Transaction) -> str:
        first = transaction.setting(SETTING)
        if first is None:
            transaction.set_setting(SETTING, public)
        return first or public

    if await mesh.write(work) != public:
        raise _other(path, "the one here is another")
    return private


def _other(path: Path, what: str) -> StateError:
    return StateError(
        f"{path}: this database's mesh has a control key, and {what}; copy control.key there from another server "
        "of it, or from a backup"
    )
