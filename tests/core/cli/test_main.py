"""The programs: their commands, their global options, and how each error leaves them."""

import click
import pytest

from ghostwire import __version__
from ghostwire.cli import main
from ghostwire.cli.errors import explain, guarded
from ghostwire.cli.lazy import Entry
from ghostwire.errors import PluginError, Unavailable


@pytest.fixture
def command(monkeypatch):
    """Puts a command ``try`` into the table of `ghostwire`."""

    def put(function, *parameters):
        made = click.Command("try", callback=click.pass_context(function), params=list(parameters))
        monkeypatch.setitem(main.GHOSTWIRE, "try", Entry("Try it.", lambda: made))

    return put


def raising(error):
    def run(ctx):
        raise error

    return run


def test_a_command_finds_configuration_folders_and_plugins_in_its_context(command, tmp_path):
    seen = []
    command(lambda ctx: seen.append(ctx.obj))
    (tmp_path / "gw.toml").write_text("[node]\ninterface = 'gw7'")
    words = ["--config", str(tmp_path / "gw.toml"), "--state", str(tmp_path / "s"), "--plugin", "-auth_key", "try"]
    assert main.ghostwire(words) == 0
    (program,) = seen
    assert program.config.node.interface == "gw7"
    assert program.folders.server_socket == tmp_path / "s" / "run" / "server.sock"
    assert program.named == ("-auth_key",)
    offering = {offer.plugin for offer in program.host("ctl").offers("ghostwire_commands")}
    assert ("derp" in offering, "auth_key" in offering) == (True, False)
    assert program.host("ctl") is program.host("ctl")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Unavailable("no answer;\n try again"), 7, "error: no answer; try again\n"),
        (PluginError("derp", "broken"), 3, "error: plugin derp: broken\n"),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [Unavailable("gone")])]), 7, "error: gone\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.UsageError("odd"), 2, "error: odd (see ghostwire try --help)\n"),
        (click.ClickException("bad"), 1, "error: bad\n"),
        (
            ZeroDivisionError("by zero"),
            70,
            "error: internal error: ZeroDivisionError: by zero; run with --debug for its traceback\n",
        ),
    ],
)
def test_each_error_is_one_line_and_an_exit_code(command, capsys, error, code, line):
    command(raising(error))
    assert main.ghostwire(["try"]) == code
    assert capsys.readouterr().err.lstrip("\n") == line


def test_debug_shows_the_traceback_too(command, capsys):
    command(raising(ZeroDivisionError("by zero")))
    assert main.ghostwire(["--debug", "try"]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_end_of_input_at_a_prompt_is_said():
    code, line = 0, ""
    try:
        raise click.Abort from EOFError()
    except click.Abort as error:
        code, line = explain(error)
    assert (code, line) == (1, "nothing was entered; nothing was done")


def test_an_exit_code_of_a_command_is_the_programs(command):
    command(lambda ctx: ctx.exit(5))
    assert main.ghostwire(["try"]) == 5


def test_a_command_that_calls_exit_itself_is_left_alone():
    with pytest.raises(SystemExit):
        guarded(lambda: exit(3))


def test_what_keeps_a_plugins_command_from_being_known_is_the_error(tmp_path, capsys):
    config = tmp_path / "wrong.toml"
    config.write_text("[relay]\nlisen = ''\n")
    assert main.ghostwire(["--config", str(config), "relay"]) == 2
    assert capsys.readouterr().err == f"error: {config}:2: relay.lisen: unknown setting; did you mean 'listen'?\n"


def test_an_unknown_command_says_which_may_have_been_meant(capsys):
    assert main.ghostwire(["servre"]) == 2
    assert capsys.readouterr().err.startswith("error: no such command 'servre'; did you mean 'server'?")


@pytest.mark.parametrize("program", ["ghostwire", "gwctl", "ghostwire_server", "ghostwire_client"])
def test_every_program_tells_its_version(program, capsys):
    assert getattr(main, program)(["--version"]) == 0
    assert capsys.readouterr().out.split() == [program.partition("_")[0], __version__]


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        ([], ["server"]),
        (["--listen", "x", "--state", "s"], ["--state", "s", "server", "--listen", "x"]),
        (["--plugin=-derp", "--help"], ["--plugin=-derp", "server", "--help"]),
    ],
)
def test_ghostwire_server_takes_global_and_own_options_in_any_order(words, becomes):
    assert main._with_command("server", words) == becomes


COMMAND = """
from ghostwire import Command, hookimpl
def load():
    import click
    return click.Command("fly", callback=lambda: print("flying"))
@hookimpl
def ghostwire_commands():
    yield Command("gwctl", "NAME", LOAD, help="Fly away.")
"""


def plugin(install, tmp_path, name="fly", load="load"):
    install("pigeon", COMMAND.replace("NAME", name).replace("LOAD", load), roles=["ctl"])
    (tmp_path / "gw.toml").write_text("[plugin.pigeon]\ntrusted = true")
    return ["--config", str(tmp_path / "gw.toml")]


def test_a_plugins_command_is_listed_and_runs(install, tmp_path, capsys):
    options = plugin(install, tmp_path)
    assert main.gwctl([*options, "--help"]) == 0
    assert "Fly away." in capsys.readouterr().out
    assert main.gwctl([*options, "fly"]) == 0
    assert capsys.readouterr().out == "flying\n"
    assert main.ghostwire([*options, "fly"]) == 2


def test_a_plugins_command_that_cannot_be_loaded_names_the_plugin(install, tmp_path, capsys):
    options = plugin(install, tmp_path, load="lambda: 1 / 0")
    assert main.gwctl([*options, "fly"]) == 3
    assert capsys.readouterr().err == "error: plugin pigeon: its command cannot be loaded: division by zero\n"


def test_a_plugin_cannot_replace_ghostwires_own_command(install, tmp_path, capsys):
    options = plugin(install, tmp_path, name="status")
    assert main.gwctl([*options, "--help"]) == 0
    assert "plugin pigeon: offers the command 'gwctl status', which GhostWire itself has" in capsys.readouterr().err


def test_help_works_where_the_file_is_wrong_and_says_so(tmp_path, capsys):
    (tmp_path / "gw.toml").write_text("sever = 1")
    assert main.ghostwire(["--config", str(tmp_path / "gw.toml"), "--help"]) == 0
    shown = capsys.readouterr()
    assert "sever: unknown setting; did you mean 'server'?" in shown.err
    assert "Run the coordination server." in shown.out
