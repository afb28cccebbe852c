"""ghostwire.toml: typed settings, and errors with file, line and key."""

from pathlib import Path

import msgspec
import pytest

from ghostwire.config import Config, file, load, parse, split_listen
from ghostwire.errors import ConfigError, PermissionDenied


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "gw.toml")
    return str(caught.value)


def test_an_empty_file_is_the_defaults():
    assert parse("") == Config()
    assert Config().server.listen == "0.0.0.0:8080"
    assert Config().plugins is None


def test_settings_are_typed():
    read = parse('plugins = ["-derp"]\n[server]\ntls = false\n[node]\nmtu = 1400\n[plugin.derp]\nport = 1\n')
    assert read.plugins == ("-derp",)
    assert read.server.tls is False
    assert read.node.mtu == 1400
    assert read.plugin == {"derp": {"port": 1}}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[server]\n\nlisen = 1", "gw.toml:3: server.lisen: unknown setting; did you mean 'listen'?"),
        ("# hm\nsever = 1", "gw.toml:2: sever: unknown setting; did you mean 'server'?"),
        ("[sever]\nlisten = 'x'", "gw.toml:1: sever: unknown setting; did you mean 'server'?"),
        ("[server]\nlisten = 8080", "gw.toml:2: server.listen: expected text in quotes, got a whole number"),
        ("[server]\ntls = 'no'", "gw.toml:2: server.tls: expected true or false, got text in quotes"),
        ("plugins = 'derp'", "gw.toml:1: plugins: expected a list, got text in quotes"),
        ("plugins = [\n 1]", "gw.toml:1: plugins: expected text in quotes, got a whole number"),
        ("server = 3", "gw.toml:1: server: expected a table, got a whole number"),
        ("[plugin]\nderp = 3", "gw.toml:1: plugin: expected a table, got a whole number"),
        ("[plugin.derp]\ntrusted = 1", "gw.toml:2: plugin.derp.trusted: expected true or false"),
        ("[node]\nmtu = 576", "gw.toml:2: node.mtu: expected a whole number >= 1280"),
        ("[server]\nlisten = 'x'", "gw.toml:2: server.listen: expected HOST:PORT, for instance 0.0.0.0:8080, not 'x'"),
        (
            "[server]\nurl = 'https://me@mesh'",
            "gw.toml:2: server.url: expected a URL like https://mesh.example.com:8080, not 'https://me@mesh'",
        ),
        (
            "[server]\nderp_map = 'https://me:secret@mesh/map'",
            "gw.toml:2: server.derp_map: expected a URL without user and password: it is shown in logs",
        ),
        ("[server]\nipv4 = '10.0.0.1/8'", "gw.toml:2: server.ipv4: 10.0.0.1/8 has host bits set"),
        (
            "[server]\nipv4 = 'fd00::/48'",
            "gw.toml:2: server.ipv4: expected an IPv4 prefix of at most /29, not 'fd00::/48'",
        ),
        ("[server]\nipv6 = '100.64.0.0/16'", "gw.toml:2: server.ipv6: expected an IPv6 prefix"),
        ("[server]\ndomain = 'Mesh'", "gw.toml:2: server.domain: expected a domain name in lower case, not 'Mesh'"),
        ("[node]\ninterface = 'a/b'", "gw.toml:2: node.interface: expected an interface name"),
        ("[node]\nendpoints = ['gw.example:1']", "gw.toml:2: node.endpoints: expected ADDRESS:PORT, for instance"),
        ("[node]\nendpoints = ['127.0.0.1:1']", "gw.toml:2: node.endpoints: no other machine can reach this one"),
        ("[node]\nendpoints = ['255.255.255.255:1']", "gw.toml:2: node.endpoints: no other machine"),
        (f"[node]\nendpoints = {['192.0.2.1:1'] * 9}", "gw.toml:2: node.endpoints: at most 8 endpoints"),
        ("[node]\nhostname = 'My Box'", "gw.toml:2: node.hostname: expected a host name"),
        ("[server]\nlisten = \n", "gw.toml:2: not valid TOML: Invalid value (at line 2"),
        ("[server]\n[server]\n", "gw.toml:2: not valid TOML: Cannot declare ('server',) twice (at line 2"),
        ("a = [1,\n2", "gw.toml:2: not valid TOML: Unclosed array (at end of document)"),
    ],
)
def test_every_mistake_is_said_with_file_line_and_key(text, error):
    assert refusal(text).startswith(error)


def test_the_parts_of_an_error_are_there_for_programs():
    with pytest.raises(ConfigError) as caught:
        parse("[server]\nlisen = 1", "gw.toml")
    assert (caught.value.file, caught.value.line, caught.value.key) == ("gw.toml", 2, "server.lisen")


def test_nested_settings_of_plugins_are_checked_at_their_line():
    class Inner(msgspec.Struct, forbid_unknown_fields=True):
        depth: int = 0

    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        inner: Inner

    read = parse("[plugin.mole]\ntrusted = true\n[plugin.mole.inner]\ndepht = 1", "gw.toml")
    with pytest.raises(ConfigError) as caught:
        read.settings("mole", Settings)
    assert str(caught.value) == "gw.toml:4: plugin.mole.inner.depht: unknown setting; did you mean 'depth'?"


def test_a_missing_setting_is_said_at_its_table():
    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        loft: int

    with pytest.raises(ConfigError, match=r"gw\.toml:1: plugin\.pigeon: .*missing required field `loft`"):
        parse("[plugin.pigeon]\n", "gw.toml").settings("pigeon", Settings)


def test_a_file_that_is_named_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml")


def test_without_a_name_the_systems_file_is_read_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "DEFAULT_FILE", tmp_path / "ghostwire.toml")
    assert load() == Config()
    (tmp_path / "ghostwire.toml").write_text("[node]\ninterface = 'gw7'")
    assert load().node.interface == "gw7"
    assert load().file == str(tmp_path / "ghostwire.toml")


def test_a_file_that_may_not_be_read_is_a_permission_matter(tmp_path, monkeypatch):
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionDenied, match="run as root"):
        load(tmp_path / "gw.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "gw.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"gw\.toml: cannot be read"):
        load(tmp_path / "gw.toml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("1.2.3.4:80", ("1.2.3.4", 80)), ("[::1]:80", ("::1", 80)), (":80", ("0.0.0.0", 80)), ("host:0", ("host", 0))],
)
def test_listening_addresses_are_split(text, parts):
    assert split_listen(text) == parts


@pytest.mark.parametrize("text", ["", "80", "host:", "host:x", "host:70000", "::1:80", "[::1:80", "a]:80", "host:-1"])
def test_what_is_no_listening_address_is_refused(text):
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        split_listen(text)
