"""`ghostwire config`: what is in effect, and whether it is right."""

import json
import tomllib

from ghostwire.cli.config import to_toml
from ghostwire.cli.main import ghostwire
from ghostwire.config import parse


def test_the_configuration_in_effect_can_be_read_back(tmp_path, capsys):
    file = tmp_path / "gw.toml"
    file.write_text('plugins = ["-auth_key"]\n[server]\nlisten = "[::1]:80"\n[plugin.net_linux]\nsettle = 1.5\n')
    assert ghostwire(["--config", str(file), "config"]) == 0
    shown = parse(capsys.readouterr().out)
    assert shown.server.listen == "[::1]:80"
    assert shown.node == parse("").node
    assert shown.plugin["net_linux"]["settle"] == 1.5
    assert "auth_key" not in (shown.plugins or ())
    assert "storage_sql" in (shown.plugins or ())


def test_json_has_the_same(tmp_path, capsys):
    file = tmp_path / "gw.toml"
    file.write_text("[node]\nmtu = 1400\n")
    assert ghostwire(["--config", str(file), "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["node"]["mtu"] == 1400


def test_secrets_are_hidden(install, tmp_path, capsys):
    install(
        "pigeon", "import msgspec\nclass Settings(msgspec.Struct, forbid_unknown_fields=True):\n    client_secret: str"
    )
    file = tmp_path / "gw.toml"
    file.write_text("[plugin.pigeon]\ntrusted = true\nclient_secret = 'coo'\n")
    assert ghostwire(["--config", str(file), "config"]) == 0
    shown = capsys.readouterr().out
    assert "coo" not in shown
    assert 'client_secret = "(hidden)"' in shown


def test_a_password_in_a_url_is_hidden_whatever_is_in_it(install, tmp_path, capsys):
    install("pigeon", "import msgspec\nclass Settings(msgspec.Struct, forbid_unknown_fields=True):\n    url: str")
    file = tmp_path / "gw.toml"
    for url in ("loft://mesh:swordfish@db/mesh", "loft://mesh:sword@fish/9@db/mesh"):
        file.write_text(f"[plugin.pigeon]\ntrusted = true\nurl = '{url}?password=fish'\n")
        assert ghostwire(["--config", str(file), "config"]) == 0
        assert 'url = "loft://mesh:(hidden)@db/mesh?password=(hidden)"' in capsys.readouterr().out
    file.write_text("[plugin.pigeon]\ntrusted = true\nurl = 'loft://db:1/mesh?password=sword@fish'\n")
    assert ghostwire(["--config", str(file), "config"]) == 0
    assert 'url = "loft://db:1/mesh?password=(hidden)"' in capsys.readouterr().out


def test_check_says_ok_or_what_is_wrong(tmp_path, capsys):
    file = tmp_path / "gw.toml"
    file.write_text("[plugin.net_linux]\nsettle = 2\n")
    assert ghostwire(["--config", str(file), "config", "check"]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"
    file.write_text("[plugin.net_linux]\nsetle = 2\n")
    assert ghostwire(["--config", str(file), "config", "check"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {file}:2: plugin.net_linux.setle: unknown setting; did you mean")


def test_every_kind_of_value_survives_the_way_to_toml_and_back():
    document = """
    top = [1, 2.5, "a \\"quoted\\" text", true]
    when = 2024-05-06T07:08:09Z
    "odd key" = 1
    [plugin.a]
    list = [{ x = 1, "y z" = [] }]
    [plugin.a.deep."er.still"]
    x = "ü"
    """
    tables = tomllib.loads(document)
    assert tomllib.loads("\n".join(to_toml(tables))) == tables
