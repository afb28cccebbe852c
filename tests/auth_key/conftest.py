"""A mesh's records in memory, and pre-auth keys issued for it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ghostwire.model import User
from ghostwire.server.mesh import LiveMesh
from ghostwire.testing import ManualClock, MemoryStorage, SeededEntropy
from ghostwire_auth_key.issuing import Issuer
from ghostwire_auth_key.settings import Settings


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def mesh(clock: ManualClock) -> AsyncIterator[LiveMesh]:
    """A mesh with the users alice (1) and bob (2)."""
    mesh = LiveMesh(clock)
    await mesh.open(MemoryStorage())
    for number, name in enumerate(("alice", "bob"), 1):
        user = User(id=number, stable_id=name, name=name)
        await mesh.write(lambda transaction, user=user: transaction.put(user))
    yield mesh
    await mesh.close()


@pytest.fixture
def issuer(mesh: LiveMesh, clock: ManualClock) -> Issuer:
    return Issuer(mesh, clock, SeededEntropy("secrets"), Settings())


@pytest.fixture
def admit(mesh: LiveMesh, clock: ManualClock) -> Callable[..., Any]:
    """``await admit(authenticator, machine_number, secret)`` asks as the server does."""
    from ghostwire.capabilities.authentication import EnrolmentRequest
    from ghostwire.keys import MachineKey

    async def ask(authenticator: Any, machine: int, secret: str) -> Any:
        request = EnrolmentRequest(MachineKey(machine.to_bytes(32, "big")), secret, mesh.now())
        return await mesh.write(lambda transaction: authenticator.admit(transaction, request))

    return ask
