"""Which plugins take part."""

from dataclasses import dataclass

import pytest

from ghostwire.config import parse
from ghostwire.errors import ConfigError, UsageError
from ghostwire.plugins.selection import Selection, choose


@dataclass
class Plugin:
    roles: tuple[str, ...]
    ours: bool = True


INSTALLED = {
    "udp": Plugin(("node",)),
    "sql": Plugin(("server",)),
    "derp": Plugin(("server", "node")),
    "pigeon": Plugin(("node",), ours=False),
}


def chosen(role, file="", *named):
    return choose(INSTALLED, Selection(parse(file), named), role).plugins


def test_by_default_this_distributions_plugins_for_the_role_take_part():
    assert chosen("node") == ("derp", "udp")
    assert chosen("server") == ("derp", "sql")
    assert chosen("relay") == ()


def test_without_a_role_all_roles_plugins_take_part():
    assert chosen(None) == ("derp", "sql", "udp")


def test_a_third_partys_plugin_takes_part_only_where_it_is_named_and_comes_last():
    assert chosen("node", "", "pigeon") == ("derp", "udp", "pigeon")
    assert chosen("node", 'plugins = ["pigeon"]') == ("derp", "udp", "pigeon")
    assert chosen("node", "[plugin.pigeon]\ntrusted = true") == ("derp", "udp", "pigeon")
    assert chosen("server", "", "pigeon") == ("derp", "sql")


def test_a_minus_leaves_a_plugin_out():
    assert chosen("node", "", "-derp") == ("udp",)
    assert chosen("node", 'plugins = ["-udp"]', "-derp") == ()


def test_the_list_beats_the_table_and_the_command_line_beats_both():
    assert chosen("node", 'plugins = ["-pigeon"]\n[plugin.pigeon]') == ("derp", "udp")
    assert chosen("node", 'plugins = ["-pigeon"]\n[plugin.pigeon]', "pigeon") == ("derp", "udp", "pigeon")
    assert chosen("node", 'plugins = ["pigeon", "-udp"]', "-pigeon", "udp") == ("derp", "udp")


def test_the_last_word_on_a_name_counts():
    assert chosen("node", "", "pigeon", "-pigeon") == ("derp", "udp")
    assert chosen("node", "", "-udp", "udp") == ("derp", "udp")


def test_named_are_those_the_operator_asked_for_and_got():
    result = choose(INSTALLED, Selection(parse("[plugin.derp]"), ("pigeon", "-udp")), "node")
    assert result.named == {"derp", "pigeon"}


@pytest.mark.parametrize("word", ["pigoen", "-pigoen"])
def test_an_unknown_name_on_the_command_line_says_what_may_have_been_meant(word):
    with pytest.raises(UsageError, match=r"^--plugin: no plugin 'pigoen' is installed; did you mean 'pigeon'\?$"):
        chosen("node", "", word)


def test_an_unknown_name_in_the_file_says_file_line_and_key():
    with pytest.raises(ConfigError) as caught:
        choose(INSTALLED, Selection(parse('\nplugins = [\n  "zzz",\n]', "/etc/gw.toml")), "node")
    assert str(caught.value) == (
        "/etc/gw.toml:2: plugins: no plugin 'zzz' is installed; there is derp, pigeon, sql, udp"
    )


def test_a_table_of_a_plugin_nobody_has_says_file_line_and_key():
    with pytest.raises(ConfigError) as caught:
        choose(INSTALLED, Selection(parse("\n[plugin.pigoen]\ntrusted = true", "gw.toml")), "server")
    assert str(caught.value).startswith("gw.toml:2: plugin.pigoen: no plugin 'pigoen' is installed; did you mean")
