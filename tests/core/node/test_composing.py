"""The node's parts as its configuration says."""

from pathlib import Path

import pytest

from ghostwire.config import parse
from ghostwire.folders import Folders
from ghostwire.node.daemon import compose
from ghostwire.node.parts import Parts
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection


def composed(text: str, folder: Path) -> Parts:
    config = parse(text)
    return compose(Host.compose("node", Selection(config)), config, Folders(folder))


def test_what_is_said_of_endpoints_reaches_the_node(tmp_path: Path) -> None:
    plain = composed("", tmp_path)
    assert (plain.configured, plain.port_mapping, plain.fixed_port) == ((), True, True)
    told = composed("[node]\nendpoints = ['203.0.113.7:41641', '[2001:db8::7]:1']\nport_mapping = false", tmp_path)
    assert (told.configured, told.port_mapping) == (("203.0.113.7:41641", "[2001:db8::7]:1"), False)


@pytest.mark.parametrize(("port", "fixed"), [(0, False), (41641, True), (7, True)])
def test_a_port_that_is_drawn_at_each_start_is_not_fixed(tmp_path: Path, port: int, fixed: bool) -> None:
    assert composed(f"[plugin.transport_wireguard]\nport = {port}", tmp_path).fixed_port is fixed
