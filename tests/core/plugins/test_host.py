"""A program's plugins, composed: what they offer, and how each way of failing is said."""

import logging
import sys

import pytest

from ghostwire.config import Config, parse
from ghostwire.errors import ConfigError, GhostwireError, PluginError
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection

TRUSTED = "[plugin.pigeon]\ntrusted = true\n"

SERVICE = """
from ghostwire import Provider, Service, hookimpl

class Bird(Service):
    def __init__(self, context):
        self.context = context
    async def start(self): pass
    async def close(self): pass
"""


def offering(*yields):
    return SERVICE + "\n@hookimpl\ndef ghostwire_services():\n" + "".join(f"    yield {line}\n" for line in yields)


def compose(file=TRUSTED, *named, role="node"):
    return Host.compose(role, Selection(parse(file, "gw.toml") if file else Config(), named))


def names(host, hook="ghostwire_services"):
    return [offer.name for offer in host.offers(hook)]


def refusal(file=TRUSTED, *named, role="node") -> str:
    with pytest.raises(GhostwireError) as caught:
        compose(file, *named, role=role)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_offers_come_by_rank_then_by_name(install):
    install("pigeon", offering("Provider('b', Bird)", "Provider('z', Bird, rank=-1)", "Provider('a', Bird)"))
    assert names(compose()) == ["z", "a", "b"]


def test_an_offer_for_other_roles_is_not_there(install):
    offers = ("Provider('a', Bird, roles=('server', 'relay'))", "Provider('b', Bird, roles=('node',))")
    install("pigeon", offering(*offers))
    assert names(compose()) == ["b"]
    everything = Host.inspect(Selection(parse(TRUSTED, "gw.toml"))).report()
    assert [info.provides["ghostwire_services"] for info in everything if info.name == "pigeon"] == [("a", "b")]


def test_an_offer_is_created_with_the_context_made_from_its_plugins_settings(install):
    source = "import msgspec\nclass Settings(msgspec.Struct, forbid_unknown_fields=True):\n    loft: int = 1\n"
    install("pigeon", source + offering("Provider('bird', Bird)"))
    host = compose(TRUSTED + "loft = 7")
    bird = host.create(host.one("ghostwire_services", "bird"), lambda plugin, settings: (plugin, settings.loft))
    assert bird.context == ("pigeon", 7)


def test_a_plugin_without_settings_gets_empty_ones_and_takes_no_keys(install):
    install("pigeon", offering("Provider('bird', Bird)"))
    assert compose().settings("pigeon") is not None
    assert refusal(TRUSTED + "loft = 7") == "gw.toml:3: plugin.pigeon.loft: unknown setting"


def test_unknown_settings_say_file_line_key_and_what_may_have_been_meant(install):
    source = "import msgspec\nclass Settings(msgspec.Struct, forbid_unknown_fields=True):\n    loft: int = 1\n"
    install("pigeon", source + offering("Provider('bird', Bird)"))
    assert refusal(TRUSTED + "lotf = 7") == "gw.toml:3: plugin.pigeon.lotf: unknown setting; did you mean 'loft'?"
    assert (
        refusal(TRUSTED + "loft = 'x'") == "gw.toml:3: plugin.pigeon.loft: expected a whole number, got text in quotes"
    )


def test_only_hooks_that_the_role_asks_are_called(install):
    install("pigeon", offering("1/0") + "\n@hookimpl\ndef ghostwire_resolvers():\n    return []\n")
    host = compose(role="ctl")
    assert [info.error for info in host.report() if info.name == "pigeon"] == [""]
    with pytest.raises(ValueError, match="not a hook that ctl asks"):
        host.offers("ghostwire_services")


def test_a_third_party_that_is_not_trusted_is_refused_and_not_imported(install):
    install("pigeon", offering("Provider('bird', Bird)"))
    text = refusal("", "pigeon")
    assert text.startswith("plugin pigeon: is not trusted: third-party-pigeon is not part of GhostWire")
    assert "set trusted = true under [plugin.pigeon] in ghostwire.toml" in text
    assert "third_party_pigeon_pigeon" not in sys.modules


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_library", "needs the Python module no_such_library"),
        ("raise SystemExit('bye')", "raised SystemExit: bye"),
        (offering("1 / 0"), "ghostwire_services raised ZeroDivisionError: division by zero"),
        (offering("__import__('sys').exit(2)"), "ghostwire_services raised SystemExit: 2"),
        (offering("'bird'"), "ghostwire_services yielded a str instead of a Provider"),
        (offering("Provider('Bird!', Bird)"), "ghostwire_services yielded the name 'Bird!'"),
        (offering("Provider('bird', None)"), "ghostwire_services yielded bird without a callable create"),
        (
            offering("Provider('bird', Bird, roles=('nest',))"),
            "ghostwire_services yielded bird for roles that there are not",
        ),
        (
            offering("Provider('bird', Bird)", "Provider('bird', Bird)"),
            "offers 'bird' under ghostwire_services, which pigeon",
        ),
        (SERVICE + "@hookimpl\nasync def ghostwire_services(): return []", "ghostwire_services is async"),
        (SERVICE + "@hookimpl\nasync def ghostwire_services(): yield 1", "ghostwire_services is async"),
        (SERVICE + "@hookimpl\ndef ghostwire_services(context): return []", "ghostwire_services takes arguments"),
        (SERVICE + "@hookimpl\ndef ghostwire_services(x=1): return []", "ghostwire_services takes arguments"),
        (SERVICE + "@hookimpl(wrapper=True)\ndef ghostwire_services(): return (yield)", "ghostwire_services wraps"),
        (
            SERVICE + "@hookimpl\ndef ghostwire_servces(): return []",
            "implements ghostwire_servces, which is no hook; did",
        ),
        ("class Settings: pass", "its Settings is not a msgspec Struct with forbid_unknown_fields=True"),
        ("import msgspec\nclass Settings(msgspec.Struct): pass", "its Settings is not a msgspec Struct with forbid"),
        (SERVICE + "def ghostwire_services(): return []", "defines ghostwire_services without @hookimpl"),
    ],
)
def test_each_way_of_being_wrong_is_one_line_that_names_the_plugin(install, source, reason):
    install("pigeon", source)
    assert refusal().startswith(f"plugin pigeon: {reason}")


def test_a_command_that_no_program_has_is_refused(install):
    install(
        "pigeon", "from ghostwire import *\n@hookimpl\ndef ghostwire_commands():\n    yield Command('ls', 'x', print)"
    )
    assert "the command x without a known program" in refusal(role="ctl")


def test_two_plugins_that_offer_the_same_name_are_both_named(install):
    install("pigeon", offering("Provider('bird', Bird)"))
    install("parrot", offering("Provider('bird', Bird)"))
    text = refusal(TRUSTED + "[plugin.parrot]\ntrusted = true")
    assert text.startswith("plugin pigeon: offers 'bird' under ghostwire_services, which parrot offers too; leave one")


def test_a_failing_plugin_of_this_distribution_costs_only_itself(install, monkeypatch, caplog):
    monkeypatch.setattr("ghostwire.plugins.loader.DISTRIBUTION", "third-party-pigeon")
    install("pigeon", offering("1 / 0"))
    install("parrot", offering("Provider('bird', Bird)"))
    with caplog.at_level(logging.WARNING):
        host = compose("[plugin.parrot]\ntrusted = true")
    assert names(host) == ["bird"]
    said = [record.getMessage() for record in caplog.records]
    (line,) = [text for text in said if "not selected" not in text]  # the real distribution is a stranger here
    assert line.startswith("plugin pigeon: ghostwire_services raised ZeroDivisionError")
    assert line.endswith("going on without it")


def test_a_plugin_that_only_lacks_its_libraries_is_left_out_quietly_and_shown(install, monkeypatch, caplog):
    monkeypatch.setattr("ghostwire.plugins.loader.DISTRIBUTION", "third-party-pigeon")
    install("pigeon", "import no_such_library", metadata="Provides-Extra: node\n")
    with caplog.at_level(logging.INFO):
        host = compose("")
    assert not [record for record in caplog.records if "not selected" not in record.getMessage()]
    (info,) = [info for info in host.report() if info.name == "pigeon"]
    assert info.selected
    assert info.error == "needs the Python module no_such_library; run: pip install 'third-party-pigeon[node]'"
    with pytest.raises(PluginError, match=r"offers the tunnel '.*; .*pigeon needs the Python module"):
        host.one("ghostwire_tunnels", "dark")


def test_libraries_that_providers_import_late_are_looked_for_but_not_imported(install, monkeypatch):
    monkeypatch.setattr("ghostwire.plugins.loader.DISTRIBUTION", "third-party-pigeon")
    install("pigeon", "LIBRARIES = ('wave', 'no_such_library')" + offering("Provider('bird', Bird)"))
    sys.modules.pop("wave", None)
    host = compose("")
    assert names(host) == []
    assert "wave" not in sys.modules
    (info,) = [info for info in host.report() if info.name == "pigeon"]
    assert info.error.startswith("needs the Python module no_such_library; run: pip install")


def test_the_report_says_what_is_selected_trusted_provided_and_wrong(install):
    install("pigeon", offering("Provider('bird', Bird)"))
    install("parrot", offering("Provider('bird', Bird)"))
    install("broken", "1 / 0")
    file = TRUSTED + "[plugin.broken]\ntrusted = true\n"
    report = {info.name: info for info in Host.inspect(Selection(parse(file))).report()}
    pigeon, parrot, broken = report["pigeon"], report["parrot"], report["broken"]
    assert pigeon.provides == {"ghostwire_services": ("bird",)}
    assert (pigeon.selected, pigeon.trusted, pigeon.version, pigeon.error) == (True, True, "2.5", "")
    assert (parrot.selected, parrot.trusted, parrot.provides) == (False, False, {})
    assert broken.error.startswith("raised ZeroDivisionError")


def test_a_name_nobody_offers_says_what_there_is(install):
    install("pigeon", offering("Provider('bird', Bird)"))
    with pytest.raises(PluginError, match=r"^no selected plugin offers the service 'brid'; did you mean 'bird'"):
        compose().one("ghostwire_services", "brid")


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        ("lambda context: 1 / 0", "bird: raised ZeroDivisionError: division by zero"),
        ("lambda context: exit(1)", "bird: raised SystemExit: 1"),
        ("lambda context: __import__('no_such_library')", "bird: needs the Python module no_such_library; run: pip"),
        ("lambda context: 'a bird'", "bird: made a str instead of a Service"),
    ],
)
def test_whatever_create_does_wrong_names_the_plugin(install, create, reason):
    install("pigeon", offering(f"Provider('bird', {create})"))
    host = compose()
    with pytest.raises(PluginError) as caught:
        host.create(host.one("ghostwire_services", "bird"), lambda plugin, settings: None)
    assert str(caught.value).startswith(f"plugin pigeon: {reason}")


def test_create_all_goes_on_without_what_fails_unless_the_operator_named_it(install, monkeypatch, caplog):
    monkeypatch.setattr("ghostwire.plugins.loader.DISTRIBUTION", "third-party-pigeon")
    install("pigeon", offering("Provider('bird', lambda context: 1 / 0)", "Provider('finch', Bird)"))
    made = compose("").create_all("ghostwire_services", lambda plugin, settings: "context")
    assert [bird.context for bird in made] == ["context"]
    assert "plugin pigeon: bird: raised ZeroDivisionError" in caplog.text
    with pytest.raises(PluginError, match="bird: raised ZeroDivisionError"):
        compose("", "pigeon").create_all("ghostwire_services", lambda plugin, settings: "context")


def test_wrong_settings_end_the_program_since_the_operator_wrote_them(install, monkeypatch):
    monkeypatch.setattr("ghostwire.plugins.loader.DISTRIBUTION", "third-party-pigeon")
    install("pigeon", offering("Provider('bird', Bird)"))
    with pytest.raises(ConfigError, match=r"plugin\.pigeon\.loft: unknown setting"):
        compose("[plugin.pigeon]\nloft = 1")
