"""What the plugin offers, and its settings."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from ghostwire_transport_wireguard import plugin


def test_it_offers_a_tunnel_and_the_preferred_transport() -> None:
    (tunnel,) = plugin.ghostwire_tunnels()
    (transport,) = plugin.ghostwire_transports()
    assert (tunnel.name, transport.name, transport.rank) == ("userspace", "udp", 0)


def test_the_plugin_module_imports_nothing_it_may_not_need() -> None:
    code = "import sys, ghostwire; before = set(sys.modules); import ghostwire_transport_wireguard.plugin; "
    code += "print(*sorted(name for name in set(sys.modules) - before if name.startswith(('ghost', 'crypto', 'nacl'))))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == [
        "ghostwire_transport_wireguard",
        "ghostwire_transport_wireguard.plugin",
        "ghostwire_transport_wireguard.settings",
    ]


@pytest.mark.parametrize("wrong", [{"port": -1}, {"port": 65_536}, {"port": "41641"}, {"prot": 1}])
def test_settings_refuse_what_makes_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, plugin.Settings)
    assert msgspec.convert({}, plugin.Settings).port == 41641
