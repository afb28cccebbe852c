"""Our relay and the stock one as one mesh; and the stock one admitting our nodes alone, by our server's word."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from derpclient import DerpClient
from natlab import Lab
from programs import Relay, wait_for
from stock import NO_DERPER, Derper, find_derper

PORT = 443
OURS, STOCK = "10.50.0.11", "10.50.0.12"

pytestmark = [pytest.mark.real, pytest.mark.skipif(not find_derper(), reason=NO_DERPER)]


@pytest.fixture(scope="module")
def meshed(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Both relays of one region, each told of the other."""
    folder = tmp_path_factory.mktemp("meshed")
    lab = make_lab()
    lab.host("ours", OURS)
    lab.host("stock", STOCK)
    lab.build()
    key = folder / "mesh.key"
    key.write_text(os.urandom(32).hex())
    key.chmod(0o600)
    ours = Relay(lab, "ours", folder, PORT)
    stock = Derper(lab, "stock", folder / "stock", PORT)
    stock.certify()
    ours.options = ["--mesh-key-file", str(key), "--mesh-with", f"{STOCK}:{PORT}#{stock.pin}"]
    ours.start()
    stock.roots = ours.state / "relay" / "tls.crt"
    stock.options = ["-mesh-psk-file", str(key), "-mesh-with", OURS]
    stock.start()
    return lab


@pytest.mark.parametrize(("near", "far"), [(OURS, STOCK), (STOCK, OURS)])
def test_clients_of_our_relay_and_of_the_stock_one_reach_each_other(meshed: Lab, near: str, far: str) -> None:
    with DerpClient(meshed, "ours", near, PORT) as here, DerpClient(meshed, "stock", far, PORT, patience=0.2) as there:
        wait_for("a packet crosses", lambda: crosses(here, there))


def crosses(source: DerpClient, target: DerpClient) -> bool:
    """Send a packet; whether it arrives. The relays may not know yet who is where."""
    source.send(target.key, b"across the mesh")
    try:
        return target.receive() == (source.key, b"across the mesh")
    except TimeoutError:
        return False
