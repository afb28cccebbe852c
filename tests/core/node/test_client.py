"""What `ghostwire client` makes of its options."""

import io
import os

import pytest

from ghostwire.cli.client import TOKEN_VARIABLE, _token, _with
from ghostwire.config import Config, parse


def test_options_go_before_the_file() -> None:
    file = parse('[node]\ninterface = "gw7"\nmtu = 1300\n[plugin.transport_wireguard]\nport = 1\n')
    config = _with(file, 5, interface=None, operator="alice")
    assert (config.node.interface, config.node.mtu, config.node.operator) == ("gw7", 1300, "alice")
    assert config.plugin["transport_wireguard"] == {"port": 5}
    assert _with(config, None, interface="gw8").node.interface == "gw8"


def test_without_a_port_no_plugin_is_named() -> None:
    assert dict(_with(Config(), None).plugin) == {}


def test_a_token_from_the_environment_is_not_inherited_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, " gwjoin-x\n")
    assert _token(None) == "gwjoin-x"
    assert TOKEN_VARIABLE not in os.environ
    assert _token(None) is None


def test_a_file_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "gwjoin-environment")
    assert _token(io.StringIO("gwjoin-file\n")) == "gwjoin-file"
    assert TOKEN_VARIABLE not in os.environ
