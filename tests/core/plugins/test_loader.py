"""Finding plugins without importing them; importing one, whatever it does."""

import os
import signal
import subprocess
import sys

import pytest

from ghostwire.plugins.loader import Failure, installed, load


def test_plugins_are_listed_with_roles_and_version_and_not_imported(install):
    install("pigeon", "raise AssertionError('imported')", roles=("node", "ctl"))
    plugin = installed()["pigeon"]
    assert plugin.roles == ("node", "ctl")
    assert (plugin.distribution, plugin.version, plugin.ours) == ("third-party-pigeon", "2.5", False)
    assert "third_party_pigeon_pigeon" not in sys.modules


def test_this_distributions_plugins_are_ours():
    assert {name for name, plugin in installed().items() if plugin.ours} >= {
        "auth_key",
        "net_linux",
        "storage_sql",
        "transport_wireguard",
    }


def test_a_plugin_is_imported_as_its_module(install):
    install("pigeon", "HOME = 7")
    module = load(installed()["pigeon"])
    assert not isinstance(module, Failure)
    assert module.HOME == 7


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('no\\nway')", "raised ValueError: no way ("),
        ("raise SystemExit(3)", "raised SystemExit: 3 ("),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt: (no text) ("),
        ("raise GeneratorExit", "raised GeneratorExit: (no text) ("),
        ("assert False, 'odd'", "raised AssertionError: odd ("),
        ("class Odd(BaseException): pass\nraise Odd('x')", "raised Odd: x ("),
        ("def broken(:\n", "raised SyntaxError: "),
        ("import no_such_library.part", "needs the Python module no_such_library; run: pip install third-party-pigeon"),
        (None, "its module third_party_pigeon_pigeon does not exist; reinstall third-party-pigeon"),
    ],
)
def test_whatever_an_import_raises_is_a_value_with_one_line(install, source, reason):
    install("pigeon", source)
    failure = load(installed()["pigeon"])
    assert isinstance(failure, Failure)
    assert failure.reason.startswith(reason)
    assert "\n" not in failure.reason


def test_a_missing_library_names_the_extra_that_brings_it(install):
    install("pigeon", "import no_such_library", roles=("node", "ctl"), metadata="Provides-Extra: node\n")
    failure = load(installed()["pigeon"])
    assert isinstance(failure, Failure)
    assert failure.missing == "no_such_library"
    assert failure.reason.endswith("run: pip install 'third-party-pigeon[node]'")


def test_two_distributions_with_one_name_are_both_named_and_neither_is_imported(install):
    install("pigeon", "raise AssertionError('imported')", distribution="loft-one")
    install("pigeon", "raise AssertionError('imported')", distribution="loft-two")
    failure = load(installed()["pigeon"])
    assert isinstance(failure, Failure)
    assert "loft-one" in failure.reason
    assert "loft-two" in failure.reason
    assert "uninstall all but one" in failure.reason


def test_an_entry_point_without_a_role_is_a_failure(install):
    install("pigeon", "", roles=())
    failure = load(installed()["pigeon"])
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("names no role")


def test_an_interrupt_from_the_keyboard_ends_the_program_even_during_an_import(install):
    before = signal.getsignal(signal.SIGINT)
    install("pigeon", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n[None for _ in range(1000)]")
    with pytest.raises(KeyboardInterrupt):
        load(installed()["pigeon"])
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_is_written_to_the_users_home(install, tmp_path):
    install("pigeon", "")
    home = tmp_path / "home"
    home.mkdir()
    script = "from ghostwire.plugins.loader import *; print(load(installed()['pigeon']).__name__)"
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"]}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "third_party_pigeon_pigeon\n"
    assert list(home.rglob("*")) == []


def test_a_new_version_is_seen_by_the_next_listing_in_the_same_process(install):
    assert "pigeon" not in installed()
    install("pigeon", "")
    assert "pigeon" in installed()
