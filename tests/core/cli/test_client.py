"""What `ghostwire client` makes of its options."""

import logging
from typing import Any

import pytest
from click.testing import CliRunner

from ghostwire.cli.client import _with, client
from ghostwire.cli.program import Program
from ghostwire.config import Config, parse
from ghostwire.node import daemon


def test_options_go_before_the_file() -> None:
    file = parse('[node]\ninterface = "gw7"\nmtu = 1300\n[plugin.transport_wireguard]\nport = 1\n')
    config = _with(file, 5, interface=None, operator="alice")
    assert (config.node.interface, config.node.mtu, config.node.operator) == ("gw7", 1300, "alice")
    assert config.plugin["transport_wireguard"] == {"port": 5}
    assert _with(config, None, interface="gw8").node.interface == "gw8"


def test_without_a_port_no_plugin_is_named() -> None:
    assert dict(_with(Config(), None).plugin) == {}


def test_each_line_that_a_daemon_logs_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", told.update)
    monkeypatch.setattr(daemon, "run_forever", lambda *_: None)
    assert CliRunner().invoke(client, obj=Program()).exit_code == 0
    assert told["format"].startswith("%(asctime)s ")
