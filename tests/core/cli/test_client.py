"""What `ghostwire client` makes of its options."""

from ghostwire.cli.client import _with
from ghostwire.config import Config, parse


def test_options_go_before_the_file() -> None:
    file = parse('[node]\ninterface = "gw7"\nmtu = 1300\n[plugin.transport_wireguard]\nport = 1\n')
    config = _with(file, 5, interface=None, operator="alice")
    assert (config.node.interface, config.node.mtu, config.node.operator) == ("gw7", 1300, "alice")
    assert config.plugin["transport_wireguard"] == {"port": 5}
    assert _with(config, None, interface="gw8").node.interface == "gw8"


def test_without_a_port_no_plugin_is_named() -> None:
    assert dict(_with(Config(), None).plugin) == {}
