"""`ghostwire server --storage`, and `[server] storage` with a URL."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire import config
from ghostwire.cli.options import storage_url
from ghostwire.cli.server import _warn_of_readers
from ghostwire.errors import ConfigError, UsageError

URL = "postgresql://mesh@db.example.com/mesh"


def test_a_url_in_the_file_is_the_sql_storages() -> None:
    read = config.parse(f'[server]\nstorage = "{URL}"\n')
    assert read.server.storage == "sql"
    assert read.plugin == {"storage_sql": {"url": URL}}


def test_a_url_on_the_command_line_goes_before_the_files_and_keeps_the_rest() -> None:
    read = config.parse('[plugin.storage_sql]\nurl = "sqlite:////old.db"\n[plugin.auth_key]\nttl_seconds = 5\n')
    stored = read.stored_at(storage_url(URL))
    assert stored.plugin == {"storage_sql": {"url": URL}, "auth_key": {"ttl_seconds": 5}}


def test_a_name_is_a_storages() -> None:
    assert config.Config().stored_at("pigeon").server.storage == "pigeon"


@pytest.mark.parametrize("url", ["postgresql://mesh:secret@db/mesh", "postgresql://db/mesh?password=secret"])
def test_a_password_on_the_command_line_is_refused_with_ways_to_give_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"\.pgpass") as caught:
        storage_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", ["secret", "[secret"])
@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False)])
def test_a_password_in_a_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool, password: str
) -> None:
    path = tmp_path / "ghostwire.toml"
    path.write_text(f'[server]\nstorage = "postgresql://mesh:{password}@db/mesh"\n')
    path.chmod(mode)
    _warn_of_readers(config.load(path))
    assert ("chmod 600" in caplog.text) == warned
    assert "secret" not in caplog.text


def test_a_server_keeps_everything_where_the_command_line_says(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.db"
    program = Path(sys.executable).with_name("ghostwire")
    options = ["--listen", "127.0.0.1:0", "--no-tls", "--storage", f"sqlite:///{place}"]
    command = [program, "--state", tmp_path / "state", "--plugin", "-derp", "server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    assert place.exists()
    assert not (tmp_path / "state" / "server" / "storage_sql" / "ghostwire.db").exists()


@pytest.mark.parametrize("given", ["/tmp/mesh.db", "sqlite:/tmp/mesh.db", "mesh:secret@db/mesh", ""])
def test_what_is_neither_a_name_nor_a_url_is_refused_with_what_a_url_is(given: str) -> None:
    with pytest.raises(UsageError, match="sqlite:////PATH/TO/FILE or postgresql://USER@HOST/NAME") as caught:
        storage_url(given)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"mesh\.toml:2: server\.storage: expected a storage's name or a URL"):
        config.parse(f'[server]\nstorage = "{given}"\n', "mesh.toml")
