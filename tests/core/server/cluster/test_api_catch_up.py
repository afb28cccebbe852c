"""An administrator whose requests come to one server and then to another."""

from dataclasses import dataclass

import httpx2
import pytest

from ghostwire.errors import NotFound, Unavailable
from ghostwire.frontdoor.app import application
from ghostwire.frontdoor.conditions import Attendant, attending
from ghostwire.frontdoor.rest import route
from ghostwire.model import User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.receipts import KeptAnswers
from ghostwire.testing import ManualClock, SeededEntropy, SharedDatabase, SharedStorage, simulated


@dataclass
class Desk:
    """The API of a server that hears of a user only by catching up."""

    name = "desk"
    known: bool = False
    reached: bool = True
    looks: int = 0
    stored: bool = True

    def public(self):
        return []

    def admin(self):
        return [route("/api/v1/somebody", self._show, summary="Show")]

    async def _show(self, request):
        self.looks += 1
        if not self.known:
            raise NotFound("nobody is called so")
        return {"name": "somebody"}

    async def catch_up(self):
        if not self.reached:
            raise Unavailable("the database is away")
        self.known = self.stored

    async def ask(self, *, shared=True):
        app = application([self])
        app.state.catch_up = self.catch_up if shared else None

        async def door(scope, receive, send):
            scope["state"] = {"admin": True}
            await app(scope, receive, send)

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=door), base_url="http://server") as client:
            return (await client.get("/api/v1/somebody")).status_code


async def test_what_another_server_made_just_now_is_found_once_that_was_read():
    desk = Desk()
    assert (await desk.ask(), desk.looks) == (200, 2)
    assert (await desk.ask(), desk.looks) == (200, 3)


@pytest.mark.parametrize(
    ("reached", "stored", "shared", "status"),
    [(True, False, True, 404), (False, True, True, 503), (True, True, False, 404)],
    ids=["nobody-made-it", "the-database-is-away", "there-is-one-server"],
)
async def test_what_is_not_there_is_not_found(reached, stored, shared, status):
    assert await Desk(reached=reached, stored=stored).ask(shared=shared) == status


@simulated
async def test_catching_up_shows_what_another_server_stored():
    database = SharedDatabase(delay=lambda: 5.0)
    meshes = [LiveMesh(ManualClock()) for _ in range(2)]
    storages = [SharedStorage(database) for _ in meshes]
    for mesh, storage in zip(meshes, storages, strict=True):
        await mesh.open(storage)
    await meshes[0].write(lambda transaction: transaction.put(User(id=1, stable_id="u", name="somebody")))
    revision = meshes[0].state.revision
    assert meshes[1].state.revision < revision
    await meshes[1].catch_up()
    assert meshes[1].state.revision == revision
    for mesh in meshes:
        await mesh.close()


@simulated
async def test_catching_up_is_no_work_of_the_request_that_waits_for_it():
    mesh = LiveMesh(ManualClock())
    await mesh.open(SharedStorage(SharedDatabase()))
    attendant = Attendant()
    attendant.receipt = KeptAnswers(mesh, SeededEntropy("receipts")).of("somebody", "0123456789abcdef", b"what it asks")

    def work(transaction):
        transaction.put(User(id=1, stable_id="u", name="somebody"))
        return "made"

    with attending(attendant):
        await mesh.catch_up()
        assert attendant.answer is None
        assert await mesh.write(work) == "made"
    assert attendant.answer == b'"made"'
    await mesh.close()
