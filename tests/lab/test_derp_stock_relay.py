"""The stock relay in our world: meshed with ours, and carrying our nodes, whom alone it admits by our server's word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from derpclient import DerpClient
from natlab import Lab
from programs import Mesh, Relay, transfer, wait_for
from stock import NO_DERPER, REGION, Derper, derp_map, find_derper

PORT = 443
CONTROL, OURS, STOCK = "10.50.0.1", "10.50.0.11", "10.50.0.12"

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


@pytest.fixture(scope="module")
def served(tun: None, make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """Nodes that may use TCP 443 alone; the stock relay, which the server has from a DERP map, is the nearest."""
    folder = tmp_path_factory.mktemp("served")
    lab = make_lab()
    lab.host("control", CONTROL, wire=True)
    lab.host("stock", STOCK)
    lab.site("a", "udp_blocked")
    lab.site("b", "udp_blocked")
    stock = Derper(lab, "stock", folder / "stock", PORT)
    stock.certify()
    document = folder / "derpmap.json"
    document.write_text(json.dumps(derp_map(STOCK, PORT, stock.pin)))
    mesh = Mesh(lab, folder, "a1", "b1", port=PORT, more=f'derp_map = "{document}"\n')
    lab.impair("control", delay=25)
    mesh.start_server()
    stock.roots = mesh.server.state / "server" / "tls.crt"
    stock.options = ["-verify-client-url", f"{mesh.server.url}/verify", "-verify-client-url-fail-open=false"]
    stock.start()
    mesh.enrol("a1", "b1")
    return mesh


def test_our_nodes_are_at_home_at_the_stock_relay_and_reach_each_other(served: Mesh) -> None:
    here, there = served["a1"], served["b1"]
    wait_for("they reach each other", lambda: here.reaches(there, relayed=True) and there.reaches(here, relayed=True))
    assert {node.home()["region"] for node in (here, there)} == {REGION}
    assert here.peer("b1")["path"]["region"] == "lab"
    sent = os.urandom(2 << 20)
    assert transfer(here, there, sent) == sent


def test_the_stock_relay_admits_our_nodes_and_no_stranger(served: Mesh) -> None:
    with pytest.raises(ConnectionError):
        DerpClient(served.lab, "control", STOCK, PORT)
    DerpClient(served.lab, "control", STOCK, PORT, key=served["a1"].key()).close()
