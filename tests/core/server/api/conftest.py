"""The whole application of a control plane in memory, API keys and kept answers among it."""

import httpx2
import pytest

from ghostwire.frontdoor.app import application
from ghostwire.server.api.api_keys import ApiKeyRoutes
from ghostwire.server.api.relays import RelayRoutes
from ghostwire.server.api.route_routes import RouteRoutes
from ghostwire.server.api.routes import CoreRoutes
from ghostwire.server.api_keys import ApiKeys
from ghostwire.server.receipts import KeptAnswers
from ghostwire.server.relays.administration import RelayAdministration
from ghostwire.server.routes.administration import RouteAdministration


class Desk:
    """``desk(rig)``: an administrator's client; with ``admin=False`` a stranger's, from that address."""

    def __init__(self):
        self._apps = {}

    def app(self, rig):
        if rig.plane not in self._apps:
            self._apps[rig.plane] = self._made(rig)
        return self._apps[rig.plane]

    def _made(self, rig):
        plane, mesh = rig.plane, rig.plane.mesh
        keys = ApiKeys(mesh, rig.clock, rig.entropy)
        relays = RelayAdministration(mesh, plane.relays, rig.entropy)
        decisions = RouteAdministration(mesh, plane.routes, plane.administration.node)
        parts = [
            CoreRoutes(mesh, plane.administration, plane.sessions.presence, plane.relays.homes, lambda: {}),
            RelayRoutes(relays, plane.relays, lambda secret: f"token of {secret}", mesh.now),
            RouteRoutes(mesh, decisions, plane.routes, plane.sessions.online),
            ApiKeyRoutes(keys),
        ]
        return application(parts, keys.admit, KeptAnswers(mesh, rig.entropy), "1.0")

    def __call__(self, rig, *, admin=True, scheme="http", client="192.0.2.1"):
        app = self.app(rig)

        async def door(scope, receive, send):
            scope["state"] = {"admin": admin}
            await app(scope, receive, send)

        transport = httpx2.ASGITransport(app=door, client=(client, 1))
        return httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://server")


@pytest.fixture
def desk():
    return Desk()
