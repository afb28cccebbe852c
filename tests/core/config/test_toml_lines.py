"""Where keys stand in a TOML document."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from ghostwire.config.toml_lines import key_lines, line_of

DOCUMENT = '''\
# first

top = 1
[server]  # a comment
listen = """
[not.a.table]
url = "no key"
"""
list = [
  "a", # ]
  [1,
   2],
]
url = 'x'
a.b = 2
inline = { x = 1, y = { z = 2 } }
"quoted key" = 1

[plugin."third.party"]
deep = 1
[[relays]]
name = "one"
[[relays]]
name = "two"
port = 3
'''


def test_each_key_has_the_line_its_statement_begins_on():
    lines = key_lines(DOCUMENT)
    assert lines[("top",)] == 3
    assert lines[("server",)] == 4
    assert lines[("server", "listen")] == 5
    assert lines[("server", "list")] == 9
    assert lines[("server", "url")] == 14
    assert lines[("server", "a", "b")] == 15
    assert lines[("server", "inline", "y", "z")] == 16
    assert lines[("server", "quoted key")] == 17
    assert lines[("plugin", "third.party")] == 19
    assert lines[("plugin", "third.party", "deep")] == 20
    assert lines[("relays", "port")] == 25
    assert ("not", "a", "table") not in lines


def test_an_unknown_path_gets_the_line_of_the_nearest_table():
    lines = key_lines(DOCUMENT)
    assert line_of(lines, ("server", "nothing", "here")) == 4
    assert line_of(lines, ("nothing",)) == 0


def test_windows_line_ends_count_once():
    assert key_lines("a = 1\r\nb = [\r\n2]\r\nc = 3\r\n") == {("a",): 1, ("b",): 2, ("c",): 4}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.integers(0, 3), max_size=8))
def test_every_key_of_a_document_is_found_whatever_stands_between(values):
    text = "".join(
        f"{'# gap' + chr(10) if value else ''}{key} = [{chr(10) * value}]\n" for key, value in values.items()
    )
    lines = key_lines(text)
    assert set(lines) == {(key,) for key in tomllib.loads(text)}
    for (key,), line in lines.items():
        assert text.split("\n")[line - 1].startswith(f"{key} =")
