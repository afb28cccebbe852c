"""The option `--ghostwire-conformance` of pytest: judges an installed plugin by the rules of a capability.

    pytest --ghostwire-conformance=transport udp

It is loaded with every pytest of the environment, so it imports nothing; what does the work is loaded on demand.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter

WORKER = "ghostwire.testing.conformance.collecting"
DECLARED = "cannot, as declared: "


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("ghostwire")
    group.addoption(
        "--ghostwire-conformance",
        metavar="CAPABILITY",
        help="judge an installed provider by this capability's rules: pytest --ghostwire-conformance=transport NAME",
    )
    group.addoption(
        "--ghostwire-settings", metavar="FILE", help="a TOML file with the settings of the plugin, in [plugin.NAME]"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load what does the work, where it was asked for."""
    if config.getoption("ghostwire_conformance"):
        config.pluginmanager.import_plugin(WORKER)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say once more what authors declared that theirs cannot do."""
    places = [report.longrepr for report in terminalreporter.getreports("skipped")]
    reasons = [place[2] for place in places if isinstance(place, tuple)]  # file, line, reason
    declared = [reason.partition(DECLARED)[2] for reason in reasons if DECLARED in reason]
    if declared:
        terminalreporter.section("declared in cannot")
        for line in declared:
            terminalreporter.line(line)
