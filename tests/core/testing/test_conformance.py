"""The kit judges installed plugins from the command line, outside the checkout, and says what is wrong in one line."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostwire.testing.conformance.subject import HOOKS
from ghostwire.testing.contracts import Contract, TransportContract, rule

ROOT = Path(__file__).parents[3]
Judge = Callable[..., subprocess.CompletedProcess[str]]

RESOLVER = """
from ghostwire import Provider, Resolver, hookimpl


class Silent(Resolver):
    name = "silent"

    async def resolve(self, query):
        return {answer}


@hookimpl
def ghostwire_resolvers():
    yield Provider("silent", lambda context: Silent())
"""


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Runs pytest in an empty folder, as an author would."""

    def run(*words: str, parallel: bool = False) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys, importlib.metadata as m, pytest\n"
            "known = any(e.value == 'ghostwire.pytest_plugin' for e in m.entry_points(group='pytest11'))\n"
            "sys.exit(pytest.main(([] if known else ['-p', 'ghostwire.pytest_plugin']) + sys.argv[1:]))"
        )
        folder = tmp_path / "empty"
        folder.mkdir(exist_ok=True)
        alone = [] if parallel else ["-p", "no:xdist"]
        command = [sys.executable, "-c", code, "-p", "no:cacheprovider", *alone, *words]
        environment = {**os.environ, "PYTEST_ADDOPTS": ""}
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)

    return run


def test_an_installed_provider_is_judged_by_its_name(judge: Judge) -> None:
    done = judge("--ghostwire-conformance=transport", "derp")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
    assert "rules for the transport derp of derp" in done.stdout


def test_its_rules_can_be_shared_among_processes(judge: Judge) -> None:
    done = judge("--ghostwire-conformance=authenticator", "auth_key", "-n", "2", parallel=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--ghostwire-conformance=transprot", "udp"], "no capability 'transprot'; did you mean 'transport'?"),
        (["--ghostwire-conformance=WRONG", "udp"], f"no capability 'WRONG'; there is {', '.join(sorted(HOOKS))}"),
        (["--ghostwire-conformance=transport", "upd"], "provides the transport 'upd'; did you mean 'udp'? (installed:"),
        (["--ghostwire-conformance=transport"], "name one provider: pytest --ghostwire-conformance=CAPABILITY NAME"),
        (["--ghostwire-conformance=resolver", "dns"], "provides the resolver 'dns' (none is installed)"),
        (
            ["--ghostwire-conformance=transport", "udp", "--ghostwire-settings=none.toml"],
            "none.toml: no such file",
        ),
    ],
    ids=["capability", "no-capability", "name", "nothing", "none", "settings"],
)
def test_a_mistake_is_one_line(judge: Judge, words: list[str], line: str) -> None:
    done = judge(*words)
    assert done.returncode == 4
    (said,) = [text for text in done.stderr.splitlines() if text.startswith("ERROR")]
    assert line in said
    assert said.count("authenticator") < 2  # what there is comes once
    assert "Traceback" not in done.stdout + done.stderr


def test_settings_come_from_a_file(judge: Judge, tmp_path: Path) -> None:
    file = tmp_path / "gw.toml"
    file.write_text("[plugin.transport_wireguard]\nprot = 1\n")
    done = judge("--ghostwire-conformance=transport", "udp", f"--ghostwire-settings={file}")
    assert "unknown setting; did you mean 'port'?" in done.stdout + done.stderr
    assert done.returncode != 0


def test_a_third_partys_plugin_is_judged_and_a_broken_rule_is_words(judge: Judge, install: Callable[..., Path]) -> None:
    install("silent", RESOLVER.format(answer="query"), roles=["node"])
    done = judge("--ghostwire-conformance=resolver", "silent")
    assert done.returncode == 1
    assert "a name of nobody was answered instead of left to the next resolver (None)" in done.stdout


def test_what_a_plugin_declares_is_skipped_and_shown(judge: Judge, install: Callable[..., Path]) -> None:
    declared = 'CANNOT = {"resolver": {"a_foreign_name_is_left_to_the_next": "it is the last one"}}\n'
    install("silent", RESOLVER.format(answer="query") + declared, roles=["node"])
    done = judge("--ghostwire-conformance=resolver", "silent")
    assert done.returncode == 0, done.stdout
    assert "a_foreign_name_is_left_to_the_next: it is the last one (" in done.stdout
    assert "declared in cannot" in done.stdout


def test_a_declaration_of_no_rule_names_those_there_are(judge: Judge, install: Callable[..., Path]) -> None:
    install("silent", RESOLVER.format(answer="None") + 'CANNOT = {"resolver": {"a_nice_rule": "no"}}', roles=["node"])
    done = judge("--ghostwire-conformance=resolver", "silent")
    assert done.returncode == 4
    assert "no rule 'a_nice_rule'" in done.stderr
    assert "it_has_a_name" in done.stderr


def test_pytest_without_the_option_loads_nothing_of_it() -> None:
    code = (
        "import sys, ghostwire.pytest_plugin\n"
        "assert not {m for m in sys.modules if m.startswith(('ghostwire.testing', 'asyncio', 'ghostwire.plugins'))}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


class Fails(Contract):
    cannot = {"it": "it is too small"}  # noqa: RUF012 (as authors write it)

    @rule
    async def test_it(self) -> None:
        raise AssertionError("broken")


def test_a_declared_rule_that_fails_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"cannot, as declared: it: it is too small \(broken\)"):
        Fails().test_it()


def test_a_declared_rule_that_is_kept_is_a_warning() -> None:
    class Keeps(Contract):
        cannot = {"it": "it is too small"}  # noqa: RUF012 (as above)

        @rule
        async def test_it(self) -> None:
            """Kept."""

    with pytest.warns(UserWarning, match="it is declared in cannot, but it is kept: remove the declaration"):
        Keeps().test_it()


def test_an_unknown_rule_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        ValueError, match=r"no rule 'two_sources_are_told_aprat'; did you mean 'two_sources_are_told_apart'"
    ):
        type("Mine", (TransportContract,), {"cannot": {"two_sources_are_told_aprat": "no"}})
